"""Halo exchange by shifts: all ranks send up by one, then down by one, then by two, up to ``reach``.

With R = ``reach``, chunks 0 to 2R-1 are what goes out, to the ranks at the distances -R, ..., -1, 1, ..., R; chunks 2R
to 4R-1 are where it arrives from them. Ranks at the ends have no partner on one side and leave that chunk as it is.

Cost: 2 min(R, P-1) alpha + n beta.
Source: Dryden, Maruyama, Benson, Moon, Snir & Van Essen 2019, "Improving strong-scaling of CNN training by exploiting
finer-grained parallelism", arXiv 1903.06681.
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "halo_exchange",
    buffers=2,
    num_chunks=lambda size, reach: 4 * reach,
    rounds=lambda size, reach: 2 * min(reach, size - 1),
    bytes=lambda size, reach: (min(reach, (size - 1) // 2) + min(reach, size // 2)) / (2 * reach),
    reductions=lambda size: 0,
)
def shift(rank: int, size: int, reach: int = 1) -> Iterator[Step]:
    """Yield up to 2R steps of ``rank``."""
    for distance in range(1, min(reach, size - 1) + 1):
        for by in (distance, -distance):
            target, source = rank + by, rank - by
            send_to = target if 0 <= target < size else None
            recv_from = source if 0 <= source < size else None
            if send_to is None and recv_from is None:
                continue
            yield Step(
                send_to,
                None if send_to is None else place_of(by, reach),
                recv_from,
                None if recv_from is None else 2 * reach + place_of(-by, reach),
            )


def place_of(distance: int, reach: int) -> int:
    """Return the chunk for the rank at ``distance``, which is not 0, among those that go out.

    Examples
    --------
    >>> [place_of(distance, 2) for distance in (-2, -1, 1, 2)]
    [0, 1, 2, 3]
    """
    return reach + distance - (distance > 0)
