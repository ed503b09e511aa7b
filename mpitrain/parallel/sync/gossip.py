"""Gossip: after each step a rank sends half of its weights to one other rank, and none waits for all.

The sum of all ranks' ``push`` is that of the weights that were sent, so the mean of all ranks stays right whatever the
graph is (push-sum). In the graphs here each rank receives as much as it sends, and ``push`` stays 1.

Sources: Assran et al. 2019, "Stochastic gradient push for distributed deep learning", arXiv 1811.10792; for the mean
of all ranks from time to time, Chen et al. 2021, "Accelerating gossip SGD with periodic global averaging", arXiv
2105.09080.
"""

import numpy as np

from ...arena import HEADER
from ...comm.channel import Channel
from ...errors import UserError
from .base import LocalSteps, SyncParts

GRAPHS = ("exponential", "ring")


class Gossip(LocalSteps):
    """One message of half of the weights a step, to one other rank (stochastic gradient push, Assran et al. 2019).

    Parameters
    ----------
    parts : SyncParts
    graph : str
        ring sends to the next rank, exponential to ranks 1, 2, 4 ... further on, in turn.
    meet : int
        Steps from one mean of all ranks' weights to the next; requests to stop or save wait for it.
    """

    def __init__(self, parts: SyncParts, *, graph: str = "exponential", meet: int = 64):
        if graph not in GRAPHS:
            raise UserError(f"the graph of --sync gossip is {graph!r}, but must be {' or '.join(GRAPHS)}")
        if meet < 1:
            raise UserError(f"the option meet of --sync gossip must be 1 or more, but it is {meet}")
        super().__init__(parts)
        self.graph, self.meet_every = graph, meet
        self._push = 1.0
        self._num_sent = 0
        self._hops = [1] if graph == "ring" else [1 << k for k in range(max(1, (parts.group.size - 1).bit_length()))]
        self._sent, self._received = (np.zeros_like(self._values) for _ in range(2))
        self._channel: Channel | None = None

    def plan(self) -> None:
        """Plan the messages between ranks."""
        super().plan()
        if self._group.size > 1:
            self._channel = Channel(self._group)

    def is_due(self, step: int, since: int) -> bool:
        """Return whether ``meet`` steps are over."""
        return since >= self.meet_every

    def share_of(self, own: float, total: float) -> float:
        """Return this rank's share in the mean: that of its push weight, whatever its samples were."""
        return self._push / self._group.size

    def between(self) -> None:
        """Send half of the weights to one rank, and receive that of another."""
        if self._channel is None:
            return
        hop, rank, size = self._hops[self._step % len(self._hops)], self._group.rank, self._group.size
        to, source = (rank + hop) % size, (rank - hop) % size
        half = self._push / 2
        np.multiply(self._values, half, out=self._sent)
        self._sent[0] = half  # a place in the header, which values do not use
        what = f"half of the weights after step {self._step}"
        received = self._channel.receive(self._received, source, label=f"{what} from rank {source}")
        self._channel.send(self._sent, to, label=f"{what} to rank {to}").wait()
        received.wait()
        self._num_sent += 1
        self._push = half + float(self._received[0])
        values = self._values[HEADER:]
        np.add(self._sent[HEADER:], self._received[HEADER:], out=values)
        values /= self._push

    def use_mean(self, values: np.ndarray, mean: np.ndarray) -> None:
        """Take the mean of all ranks."""
        super().use_mean(values, mean)
        self._push = 1.0

    @property
    def period(self) -> float:
        """Steps from one mean of all ranks to the next."""
        return float(self.meet_every)

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step, in the mean."""
        return super().bytes_per_step + (0 if self._channel is None else self._values.nbytes)

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends in one step, in the mean."""
        return super().messages_per_step + (self._channel is not None)

    @property
    def bytes_sent(self) -> float:
        """Bytes that this rank has sent up to now."""
        return super().bytes_sent + self._num_sent * self._values.nbytes

    def free(self) -> None:
        """Free the MPI resources."""
        super().free()
        if self._channel is not None:
            self._channel.free()

    def title(self) -> str:
        """Return the method in a few words."""
        return f"half of the weights to one rank a step ({self.graph}), their mean every {self.meet_every:,} steps"
