"""Cases of every move for its check: even, uneven and empty parts, and fewer rows than ranks."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ...comm.group import Group
from ...layers.base import Layer
from .along import AllGather, Gather, ReduceScatter, Split
from .copy_sum import Copy, Sum
from .halo import Halo, rows_of_windows
from .move import Length, total_of
from .turn import RaggedTurn, Turn

WINDOWS = {"3 rows, stride 1": (3, 1, 1), "5 rows, stride 2": (5, 2, 2), "2 rows, stride 2": (2, 2, 0)}
"""Extent, stride and padding."""


class Case(NamedTuple):
    """A layer to be checked, and the shape of the array that all ranks have together."""

    name: str
    layer: Layer
    shape: tuple[int, ...]


Cases = Callable[[Group, np.random.Generator], Iterator[Case]]


def cases_of(name: str, group: Group, seed: int) -> list[Case]:
    """Return the cases of a move; the random lengths are the same on all ranks."""
    random = np.random.default_rng([seed, group.size])
    return list(CASES[name](group, random))


def _lengths(size: int, random: np.random.Generator) -> dict[str, Length]:
    """Return divisions of a dimension by their names."""
    empty = random.integers(1, 6, size)
    empty[random.integers(size)] = 0
    return {
        "even": 3 * size,
        "uneven": random.integers(1, 6, size).tolist(),
        "one empty": empty.tolist(),
        "fewer than ranks": size - 1,
        "none": 0,
    }


def _summed(kind: type[Copy | Sum]) -> Cases:
    def cases(group: Group, random: np.random.Generator) -> Iterator[Case]:
        for name, shape, algorithm in (
            ("by ring", (3, 5, 2), "ring"),
            ("by auto", (3, 5, 2), "auto"),
            ("fewer than ranks", (1,), "ring"),
            ("none", (0, 4), "auto"),
        ):
            yield Case(name, kind(group, algorithm), shape)

    return cases


def _along(kind: type[Split | Gather | ReduceScatter | AllGather]) -> Cases:
    def cases(group: Group, random: np.random.Generator) -> Iterator[Case]:
        for dim in (0, 1, -1):
            for name, length in _lengths(group.size, random).items():
                shape = [3, 4, 2]
                shape[dim] = total_of(length)
                yield Case(f"dim {dim}, {name}", kind(group, dim, length), tuple(shape))

    return cases


def _turns(group: Group, random: np.random.Generator) -> Iterator[Case]:
    lengths, others = _lengths(group.size, random), _lengths(group.size, random)
    for cut, join in (("even", "even"), ("uneven", "one empty"), ("fewer than ranks", "uneven"), ("none", "even")):
        for dims in ((1, 0), (0, -1)):
            shape = [2, 2, 2]
            shape[dims[0]], shape[dims[1]] = total_of(lengths[cut]), total_of(others[join])
            yield Case(f"{cut} to {join}", Turn(group, *dims, lengths[cut], others[join]), tuple(shape))


def _ragged(group: Group, random: np.random.Generator) -> Iterator[Case]:
    size, rank = group.size, group.rank
    some = random.integers(0, 5, (size, size))
    to_last = np.zeros((size, size), np.int64)
    to_last[:, -1] = np.arange(size)
    tables = {"even": np.full((size, size), 2), "uneven": some, "all to one": to_last, "none": np.zeros_like(some)}
    for name, table in tables.items():
        yield Case(name, RaggedTurn(group, table[rank].tolist()), (int(table.sum()), 3))


def _halos(group: Group, random: np.random.Generator) -> Iterator[Case]:
    for before, after in ((1, 1), (0, 2), (7, 5)):
        for name, length in _lengths(group.size, random).items():
            layer = Halo(group, 1, length, before, after)
            yield Case(f"{before} before, {after} after, {name}", layer, (2, total_of(length), 3))
    for name, window in WINDOWS.items():
        length = 4 * group.size + 3
        rows = rows_of_windows(length, group.size, *window)
        yield Case(name, Halo(group, 0, length, rows=rows), (length, 3))


CASES: dict[str, Cases] = {
    "copy": _summed(Copy),
    "sum": _summed(Sum),
    "split": _along(Split),
    "gather": _along(Gather),
    "reduce_scatter": _along(ReduceScatter),
    "all_gather": _along(AllGather),
    "turn": _turns,
    "ragged_turn": _ragged,
    "halo": _halos,
}
