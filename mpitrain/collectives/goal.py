"""Start and end of each collective, as sets of contributions.

A contribution is a bit: bit r is that of rank r. The content of a chunk is a set of contributions, as an int; 0 is an
empty chunk. A reduction unites two sets that must not overlap, since nothing may count twice; a copy replaces a set.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

Start = Callable[..., list[int]]
Finish = Callable[..., list[int | None]]


@dataclass(frozen=True)
class Goal:
    """Start and end of a collective.

    Attributes
    ----------
    collective : str
    start : callable(rank, size, num_chunks)
        Contributions in each chunk of a rank at the start.
    finish : callable(rank, size, num_chunks)
        Contributions at the end; None where any content is allowed.
    sentence : str
        Description of the end.
    rooted : bool
        One rank is the root, rank 0 by default; ``start`` and ``finish`` take it as ``root``.
    same_chunks : bool
        Both ends of a message name the same chunks. Otherwise a contribution is what one rank has for another one.
    once : bool
        A contribution must not be added twice (in a barrier it may be).
    owners : bool
        Chunks belong to ranks, so their number must be a multiple of P.
    keeps_own : bool
        What a rank has for itself is in place in its second buffer at the start.
    """

    collective: str
    start: Start
    finish: Finish
    sentence: str
    same_chunks: bool = True
    once: bool = True
    owners: bool = False
    rooted: bool = False
    keeps_own: bool = False

    def at(self, root: int) -> "Goal":
        """Return the goal for another root than rank 0."""
        if not root:
            return self
        start = functools.partial(self.start, root=root) if _takes_root(self.start) else self.start
        finish = functools.partial(self.finish, root=root) if _takes_root(self.finish) else self.finish
        return replace(self, start=start, finish=finish, sentence=self.sentence.replace("rank 0", f"rank {root}"))

    def name(self, bit: int, size: int) -> str:
        """Return the description of the contribution ``bit``."""
        if not self.same_chunks:
            return f"rank {bit // size}'s chunk for rank {bit % size}"
        return f"rank {bit}'s contribution"


def _takes_root(function: Callable[..., object]) -> bool:
    return "root" in inspect.signature(function).parameters


def _everybody(rank: int, size: int, num_chunks: int) -> list[int]:
    return [1 << rank] * num_chunks


def _sum(rank: int, size: int, num_chunks: int) -> list[int | None]:
    return [(1 << size) - 1] * num_chunks


def _owner(chunk: int, size: int, num_chunks: int) -> int:
    return chunk * size // num_chunks


def _own_sum(rank: int, size: int, num_chunks: int) -> list[int | None]:
    return [(1 << size) - 1 if _owner(c, size, num_chunks) == rank else None for c in range(num_chunks)]


def _own(rank: int, size: int, num_chunks: int) -> list[int]:
    return [1 << rank if _owner(c, size, num_chunks) == rank else 0 for c in range(num_chunks)]


def _all_owned(rank: int, size: int, num_chunks: int) -> list[int | None]:
    return [1 << _owner(c, size, num_chunks) for c in range(num_chunks)]


def _root_only(rank: int, size: int, num_chunks: int, root: int = 0) -> list[int]:
    return [1 << root if rank == root else 0] * num_chunks


def _from_root(rank: int, size: int, num_chunks: int, root: int = 0) -> list[int | None]:
    return [1 << root] * num_chunks


def _sum_at_root(rank: int, size: int, num_chunks: int, root: int = 0) -> list[int | None]:
    return [(1 << size) - 1 if rank == root else None] * num_chunks


def _root_has_all(rank: int, size: int, num_chunks: int, root: int = 0) -> list[int]:
    return [1 << _owner(c, size, num_chunks) if rank == root else 0 for c in range(num_chunks)]


def _own_back(rank: int, size: int, num_chunks: int) -> list[int | None]:
    return [1 << rank if _owner(c, size, num_chunks) == rank else None for c in range(num_chunks)]


def _all_at_root(rank: int, size: int, num_chunks: int, root: int = 0) -> list[int | None]:
    return _all_owned(rank, size, num_chunks) if rank == root else [None] * num_chunks


def _slots_in(rank: int, size: int, num_chunks: int) -> list[int]:
    # chunk d of the first P is for rank d, chunk P + s receives rank s's; a rank's own chunk is there already
    slots = [1 << rank * size + to for to in range(size)] + [0] * (num_chunks - size)
    slots[size + rank] = slots[rank]
    return slots


def _slots_out(rank: int, size: int, num_chunks: int) -> list[int | None]:
    arrived: list[int | None] = [1 << source * size + rank for source in range(size)]
    return [None] * size + arrived + [None] * (num_chunks - 2 * size)


def _distances(num_chunks: int) -> list[int]:
    reach = num_chunks // 4
    return [distance for distance in range(-reach, reach + 1) if distance]


def _halos_out(rank: int, size: int, num_chunks: int) -> list[int]:
    near = [rank + distance for distance in _distances(num_chunks)]
    return [1 << rank * size + to if 0 <= to < size else 0 for to in near] + [0] * (num_chunks // 2)


def _halos_in(rank: int, size: int, num_chunks: int) -> list[int | None]:
    near = [rank + distance for distance in _distances(num_chunks)]
    return [None] * (num_chunks // 2) + [1 << s * size + rank if 0 <= s < size else None for s in near]


def _up_to_rank(rank: int, size: int, num_chunks: int) -> list[int | None]:
    return [(2 << rank) - 1] * num_chunks


GOALS = {
    goal.collective: goal
    for goal in (
        Goal("all_reduce", _everybody, _sum, "every chunk ends on every rank with every contribution exactly once"),
        Goal(
            "reduce_scatter", _everybody, _own_sum, "chunk r ends summed on rank r, each contribution once", owners=True
        ),
        Goal("all_gather", _own, _all_owned, "chunk r of rank r ends on every rank", owners=True),
        Goal("broadcast", _root_only, _from_root, "rank 0's chunks end on every rank", rooted=True),
        Goal(
            "reduce",
            _everybody,
            _sum_at_root,
            "every chunk ends on rank 0 with every contribution exactly once",
            rooted=True,
        ),
        Goal(
            "all_to_all",
            _slots_in,
            _slots_out,
            "chunk d of rank s ends in place s of rank d",
            same_chunks=False,
            keeps_own=True,
        ),
        Goal(
            "halo_exchange",
            _halos_out,
            _halos_in,
            "what a rank has for the ranks near it ends there, each in a place of its own",
            same_chunks=False,
        ),
        Goal("scatter", _root_has_all, _own_back, "chunk r of rank 0 ends on rank r", owners=True, rooted=True),
        Goal("gather", _own, _all_at_root, "chunk r of rank r ends on rank 0", owners=True, rooted=True),
        Goal("barrier", _everybody, _sum, "every rank hears from every rank, directly or not", once=False),
        Goal("scan", _everybody, _up_to_rank, "rank r ends with the contributions of ranks 0 to r exactly once"),
    )
}
"""The goals by collective."""
