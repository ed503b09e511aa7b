"""Which rank computes on which GPU, decided from what each rank sees: pure, and the same on every rank.

Schedulers differ. Some show each rank all GPUs of its node, some each rank only its own, which every rank then calls
number 0; so a GPU is known by its UUID and never by its number, and never by the rank's number in the whole job.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class Sight:
    """What a rank sees.

    Attributes
    ----------
    node : int
        The same for ranks that share memory.
    gpus : tuple of str
        UUIDs of the GPUs that it could use, in the order of their numbers.
    reason : str
        Why there are none.
    """

    node: int
    gpus: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Place:
    """Where a rank computes: on GPU ``number`` as it counts them, or on the CPU (None); ``ranks`` share it."""

    number: int | None = None
    ranks: int = 1


def assign(sights: Sequence[Sight]) -> list[Place]:
    """Return the place of every rank.

    On each node, ranks choose in turn the GPU that the fewest have chosen. Those that see fewer choose first, and
    among these the lower rank, so that a rank with no choice is not left with a GPU that another could have spared;
    and where all see the same, rank i of the node takes GPU i modulo their number.

    >>> both = ("A", "B")
    >>> [place.number for place in assign([Sight(0, both), Sight(0, both), Sight(0, both)])]
    [0, 1, 0]
    >>> assign([Sight(0, ("A",)), Sight(0, ("B",)), Sight(0)])
    [Place(number=0, ranks=1), Place(number=0, ranks=1), Place(number=None, ranks=1)]
    """
    taken: Counter[tuple[int, str]] = Counter()
    chosen: dict[int, str] = {}
    for rank in sorted(range(len(sights)), key=lambda rank: len(sights[rank].gpus)):
        node, gpus = sights[rank].node, sights[rank].gpus
        if gpus:
            chosen[rank] = min(gpus, key=lambda gpu: taken[node, gpu])
            taken[node, chosen[rank]] += 1
    return [
        Place(sight.gpus.index(chosen[rank]), taken[sight.node, chosen[rank]]) if rank in chosen else Place()
        for rank, sight in enumerate(sights)
    ]


def notes(asked: str, sights: Sequence[Sight], places: Sequence[Place]) -> list[str]:
    """Return what the user should know of the assignment.

    Raises
    ------
    UserError
        If GPUs were asked for and no rank has one.
    """
    without = [rank for rank, place in enumerate(places) if place.number is None]
    reason = sights[without[0]].reason if without else ""
    if len(without) == len(places):
        if asked == "cuda":
            raise UserError(f"--device cuda: no rank has a GPU: {reason}")
        return [f"on the CPU: {reason}"] if any("pip install" in sight.reason for sight in sights) else []
    found = []
    if without:
        found.append(f"{_ranks(without)} without a GPU on the CPU, beside the others: {reason}")
    gpus = {(s.node, s.gpus[p.number]) for s, p in zip(sights, places, strict=True) if p.number is not None}
    if len(gpus) < len(places) - len(without):
        found.append(f"{len(places) - len(without)} ranks share {len(gpus)} GPU{'s' * (len(gpus) > 1)}")
    return found


def _ranks(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"{len(ranks)} ranks (rank {ranks[0]} first)"
