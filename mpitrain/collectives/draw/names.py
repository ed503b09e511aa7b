"""Short names: for sets of contributions, and for chunks."""

from collections.abc import Sequence

from ..step import chunk_runs


def members(contributions: int) -> list[int]:
    """Return the bits that are set, in order."""
    found = []
    while contributions:
        lowest = contributions & -contributions
        found.append(lowest.bit_length() - 1)
        contributions ^= lowest
    return found


def name_set(contributions: int, size: int, pairs: bool = False) -> str:
    """Return a set of contributions of ``size`` ranks in a few characters.

    Runs of three and more are first-last, and may go around the end: 3-0 with 5 ranks is 3, 4 and 0. In ``pairs``
    (all_to_all) a contribution is what one rank has for another.

    Examples
    --------
    >>> [name_set(s, 8) for s in (0b1, 0b11, 0b1111, 0b10010011, 0b11000001, 0)]
    ['0', '01', '0-3', '7-1,4', '6-0', '.']
    >>> name_set(0b11, 16), name_set(0b100, 2, pairs=True)
    ('0,1', '1>0')
    """
    if not contributions:
        return "."
    if pairs:
        return ",".join(f"{bit // size}>{bit % size}" for bit in members(contributions))
    runs = _runs_around(members(contributions), size)
    between = "" if size <= 10 else ","
    return ",".join(_name_run(run, between) for run in runs)


def _name_run(run: list[int], between: str) -> str:
    return f"{run[0]}-{run[-1]}" if len(run) > 2 else between.join(map(str, run))


def _runs_around(ranks: list[int], size: int) -> list[list[int]]:
    """Return neighbors together; a run that reaches the last rank continues at 0."""
    runs = [list(run) for run in chunk_runs(tuple(ranks))]
    if len(runs) > 1 and runs[0][0] == 0 and runs[-1][-1] == size - 1:
        runs = [runs[-1] + runs[0], *runs[1:-1]]
    return runs


def name_chunks(chunks: Sequence[int]) -> str:
    """Return chunks in a few characters.

    Examples
    --------
    >>> name_chunks((3,)), name_chunks((0, 1, 2, 6)), name_chunks(())
    ('3', '0-2,6', 'none')
    """
    return ",".join(_name_range(run) for run in chunk_runs(tuple(chunks))) or "none"


def _name_range(run: range) -> str:
    return str(run.start) if len(run) == 1 else f"{run.start}-{run.stop - 1}"
