"""All-reduce of the gradients: every rank gets the sums and updates all weights.

The gradients are cut into buckets, which are all-reduced while backward still runs.
"""

from ..arena import Arena
from ..comm.group import Group
from ..comm.planner import NCCL
from ..plain_text import binary_size
from .buckets import BucketQueue, cut_buckets, name_bucket
from .gradient_sync import PlannedSync, WholeUpdateSync


class AllReduceSync(WholeUpdateSync, PlannedSync):
    """Synchronization that sums ``arena.gradients`` over the ranks in place.

    Parameters
    ----------
    arena : Arena
    group : Group
    all_reduce : str
        As in ``Group.plan_all_reduce``.
    bucket_bytes : int
    same : Group, optional
        The ranks of ``group`` with the same experts as this one; all by default.
    """

    def __init__(self, arena: Arena, group: Group, all_reduce: str, bucket_bytes: int, same: Group | None = None):
        self.buckets = cut_buckets(arena, bucket_bytes)
        slices = [arena.gradients[b.start : b.stop] for b in self.buckets]
        groups = [(same or group) if b.of_experts else group for b in self.buckets]
        automatic = all_reduce == "auto"
        choices = [one.choose(s.nbytes) for one, s in zip(groups, slices, strict=True)] if automatic else []
        self.reasons = list(dict.fromkeys(choice.reason for choice in choices))
        names = [choice.name for choice in choices] or [all_reduce] * len(slices)
        whats = [name_bucket(arena, number, b) for number, b in enumerate(self.buckets)]
        each = zip(groups, slices, names, whats, strict=True)
        plans = [one.plan_all_reduce(s, name, what=what) for one, s, name, what in each]
        self.algorithms = [plan.algorithm for plan in plans]
        if NCCL not in self.algorithms:
            group.note_staging(max(s.nbytes for s in slices))
        WholeUpdateSync.__init__(self, arena)
        PlannedSync.__init__(self, arena, group, plans, BucketQueue(self.buckets, plans, arena.put_header))

    def finish(self) -> None:
        """Wait for all sums."""
        self._queue.finish()
        if self.queued_norm is not None:
            self.queued_norm.queue()

    def describe(self) -> str:
        """Return a description in a few words."""
        names, size = " and ".join(sorted(set(self.algorithms))), binary_size(self._arena.gradients.nbytes)
        return f"{names} all-reduce of {size} in {len(self.buckets)} bucket{'s' * (len(self.buckets) > 1)}"
