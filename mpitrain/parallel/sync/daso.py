"""Two levels: gradients are summed within a node in every step, weights averaged over the nodes every few steps.

Source: Coquelin et al. 2021, "Accelerating neural network training with distributed asynchronous and selective
optimization (DASO)", arXiv 2104.05588; here the nodes wait for each other's weights, which DASO lets come late.
"""

from ...errors import UserError
from ...parameter import Parameter
from ..all_reduce_sync import AllReduceSync
from .base import SyncParts
from .local import Local, say_every


class DASO(Local):
    """Sums of gradients within a node in every step, the mean over all nodes every ``steps`` (Coquelin et al. 2021).

    Parameters
    ----------
    parts : SyncParts
    steps : int
        From one mean over all nodes to the next.
    team : int
        Ranks that sum their gradients in every step, in place of those of a node; 0 for those of a node.
    """

    watches_gradients = True

    def __init__(self, parts: SyncParts, *, steps: int = 4, team: int = 0):
        if team < 0:
            raise UserError(f"the option team of --sync daso must be 0 or more, but it is {team}")
        super().__init__(parts, steps=steps)
        self._color = parts.group.rank // team if team else parts.group.place.node
        self.team: AllReduceSync | None = None

    def plan(self) -> None:
        """Plan the messages within the node, and between all ranks."""
        super().plan()
        if self._group.size == 1:
            return
        team = self._group.divide(self._color, "node")
        self.team_size, self.speaks = team.size, team.rank == 0
        if team.size > 1:
            self.team = AllReduceSync(self._arena, team, *self._parts[2:])

    def begin(self, passes: int = 1) -> None:
        """Begin a step, with all gradients missing."""
        if self.team is not None:
            self.team.begin()

    def ready(self, p: Parameter) -> None:
        """Start the sum within the node of the bucket that the gradient of ``p`` completes."""
        if self.team is not None:
            self.team.ready(p)

    def finish(self) -> None:
        """Wait for the sums within the node; at a meeting, agree with the others."""
        if self.team is not None:
            self.team.finish()
        super().finish()

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step, in the mean."""
        return super().bytes_per_step + (0 if self.team is None else self.team.bytes_per_step)

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends in one step, in the mean (calls, where MPI does it)."""
        return super().messages_per_step + (0 if self.team is None else self.team.messages_per_step)

    @property
    def bytes_sent(self) -> float:
        """Bytes that this rank has sent up to now."""
        return super().bytes_sent + (0 if self.team is None else self.num_steps * self.team.bytes_per_step)

    def free(self) -> None:
        """Free the MPI requests."""
        super().free()
        if self.team is not None:
            self.team.free()

    def title(self) -> str:
        """Return the method in a few words."""
        return f"sums within {self.team_size} ranks in every step, the mean of all weights {say_every(self.steps)}"
