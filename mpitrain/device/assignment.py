"""Assignment of GPUs to ranks: a pure function of the GPUs that each rank sees, with the same result on every rank.

Schedulers differ. Some show each rank all GPUs of its node, some show each rank only its own, which every rank then
calls number 0. So a GPU is identified by its UUID, never by its number, and never by the rank's number in the job.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class VisibleGpus:
    """The GPUs that one rank can see.

    Attributes
    ----------
    node : int
        The same number for ranks that share memory.
    gpus : tuple of str
        UUIDs of the GPUs that the rank could use, in the order of their numbers.
    reason : str
        The reason why there are none.
    """

    node: int
    gpus: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class GpuSlot:
    """The device of one rank: GPU ``number`` as the rank counts them, or the CPU (None), shared by ``ranks`` ranks."""

    number: int | None = None
    ranks: int = 1


def assign(visible: Sequence[VisibleGpus]) -> list[GpuSlot]:
    """Return the slot of every rank.

    On each node, ranks choose in turn the GPU that the fewest have chosen. Ranks that see fewer GPUs choose first, and
    among these the lower rank, so that a rank without a choice is not left with a GPU that another rank could have
    spared. Where all ranks see the same GPUs, rank i of the node takes GPU i modulo their number.

    >>> both = ("A", "B")
    >>> [slot.number for slot in assign([VisibleGpus(0, both), VisibleGpus(0, both), VisibleGpus(0, both)])]
    [0, 1, 0]
    >>> assign([VisibleGpus(0, ("A",)), VisibleGpus(0, ("B",)), VisibleGpus(0)])
    [GpuSlot(number=0, ranks=1), GpuSlot(number=0, ranks=1), GpuSlot(number=None, ranks=1)]
    """
    taken: Counter[tuple[int, str]] = Counter()
    chosen: dict[int, str] = {}
    for rank in sorted(range(len(visible)), key=lambda rank: len(visible[rank].gpus)):
        node, gpus = visible[rank].node, visible[rank].gpus
        if gpus:
            chosen[rank] = min(gpus, key=lambda gpu: taken[node, gpu])
            taken[node, chosen[rank]] += 1
    return [
        GpuSlot(seen.gpus.index(chosen[rank]), taken[seen.node, chosen[rank]]) if rank in chosen else GpuSlot()
        for rank, seen in enumerate(visible)
    ]


def notes(asked: str, visible: Sequence[VisibleGpus], slots: Sequence[GpuSlot]) -> list[str]:
    """Return the messages about the assignment that a user should see.

    Raises
    ------
    UserError
        If GPUs were requested and no rank has one.
    """
    without = [rank for rank, slot in enumerate(slots) if slot.number is None]
    reason = visible[without[0]].reason if without else ""
    if len(without) == len(slots):
        if asked == "cuda":
            raise UserError(f"--device cuda: no rank has a GPU: {reason}")
        return [f"on the CPU: {reason}"] if any("pip install" in seen.reason for seen in visible) else []
    found = []
    if without:
        found.append(f"{_ranks(without)} without a GPU, on the CPU: {reason}")
    gpus = {(seen.node, seen.gpus[s.number]) for seen, s in zip(visible, slots, strict=True) if s.number is not None}
    if len(gpus) < len(slots) - len(without):
        found.append(
            f"{len(slots) - len(without)} ranks share {len(gpus)} GPU{'s' * (len(gpus) > 1)}: "
            "unless CUDA MPS runs, a GPU works for one of its ranks at a time"
        )
    return found


def _ranks(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"{len(ranks)} ranks (rank {ranks[0]} first)"
