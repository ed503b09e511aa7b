"""Axes of a mesh: their names, the text that gives their sizes, and the places of ranks. Pure.

    data=2,pipe=4       2 x 4 ranks
    pipe=4              the size of data is inferred
    data=2,pipe=        the size of pipe is inferred

A size that is not given is inferred from the number of ranks, at most one: that of an axis without a number, or that
of data where data is not named. Every other axis that is not named has one rank.

Ranks are numbered as the elements of an array (data, pipe, space, context, tensor, expert): neighbors on the last axis
are neighbors on a node. Samples are divided over data and expert.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..errors import UserError
from ..suggest import did_you_mean

AXES = ("data", "pipe", "space", "context", "tensor", "expert")  # the outermost first
NEAREST = 2  # meshes that are suggested

Sizes = Mapping[str, int]
Given = Mapping[str, int | None]


def fit(sizes: str | Given, num_ranks: int) -> dict[str, int]:
    """Return the size of every axis.

    Parameters
    ----------
    sizes : str or mapping of str to int
        See this module; in a mapping, None is a size to infer.
    num_ranks : int
        Number of ranks that the mesh must have.

    Raises
    ------
    UserError
        In one sentence, with the nearest meshes that have so many ranks.

    >>> fit("pipe=4", 8)
    {'data': 2, 'pipe': 4, 'space': 1, 'context': 1, 'tensor': 1, 'expert': 1}
    """
    given: dict[str, int | None] = {}
    try:
        for axis, size in _parse(sizes) if isinstance(sizes, str) else sizes.items():
            _check(axis, size, given)
            given[axis] = size
        return _infer(given, num_ranks)
    except UserError as error:
        ranks = "1 rank" if num_ranks == 1 else f"{num_ranks} ranks"
        raise UserError(f"{error}; for {ranks} there is {_nearest(given, num_ranks)}") from None


def _parse(text: str) -> list[tuple[str, int | None]]:
    """Return the axes and sizes in a text such as ``data=2,pipe=4``, None where there is no number."""
    found: list[tuple[str, int | None]] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        axis, is_one, size = part.partition("=")
        if not is_one:
            raise UserError(f"a mesh is written as data=2,pipe=4, not as {text}")
        try:
            found.append((axis, int(size) if size else None))
        except ValueError:
            raise UserError(f"the size of axis {axis} is {size!r}, but must be a whole number") from None
    return found


def check_axis(axis: str) -> None:
    """Raise a UserError if there is no such axis."""
    if axis not in AXES:
        raise UserError(f"a mesh has no axis {axis!r}{did_you_mean(axis, AXES) or ', only ' + ', '.join(AXES)}")


def _check(axis: str, size: int | None, before: Given) -> None:
    check_axis(axis)
    if axis in before:
        raise UserError(f"the mesh names axis {axis} twice")
    if size is not None and size < 1:
        raise UserError(f"the size of axis {axis} is {size}, but must be at least 1")


def _infer(given: Given, num_ranks: int) -> dict[str, int]:
    """Return the size of every axis, or raise a UserError."""
    wanted = {"data": None, **given}
    left_out = [axis for axis, size in wanted.items() if size is None]
    known = {axis: size for axis, size in given.items() if size is not None}
    needed = math.prod(known.values())
    if len(left_out) > 1:
        raise UserError(f"the sizes of {' and '.join(left_out)} are not given, but only one can be inferred")
    if left_out and num_ranks % needed:
        raise UserError(f"{say_sizes(known)} does not divide the number of ranks")
    if not left_out and needed != num_ranks:
        raise UserError(f"the mesh {say_sizes(known)} has {needed} ranks, not {num_ranks}")
    return dict.fromkeys(AXES, 1) | known | dict.fromkeys(left_out, num_ranks // needed)


def _nearest(given: Given, num_ranks: int) -> str:
    """Return the meshes of ``num_ranks`` that differ least from the sizes that are given, by their ratios."""

    def distance(sizes: Sizes) -> float:
        return sum(abs(math.log(sizes[axis] / size)) for axis, size in given.items() if size)

    named = [axis for axis in AXES if axis in given and axis != "data"] or ["pipe"]
    meshes = sorted(_factors(("data", *named), num_ranks), key=distance)
    return " or ".join(say_sizes(mesh) for mesh in meshes[:NEAREST])


def _factors(axes: Sequence[str], num_ranks: int) -> Iterator[dict[str, int]]:
    """Yield the meshes of ``num_ranks`` with these axes, those with the most ranks on the first one first."""
    if len(axes) == 1:
        yield {axes[0]: num_ranks}
        return
    for size in range(num_ranks, 0, -1):
        if num_ranks % size == 0:
            yield from ({axes[0]: size, **rest} for rest in _factors(axes[1:], num_ranks // size))


def say_sizes(sizes: Given) -> str:
    """Return sizes as they are written.

    >>> say_sizes({"data": 2, "pipe": 4})
    'data=2,pipe=4'
    """
    return ",".join(f"{axis}={size}" for axis, size in sizes.items())


def say_mesh(sizes: Sizes) -> str:
    """Return the axes with more than one rank as they are written, data alone if there is none."""
    return say_sizes({axis: sizes[axis] for axis in AXES if sizes[axis] > 1} or {"data": 1})


def places(sizes: Sizes) -> np.ndarray:
    """Return the number of each rank in the mesh, by its places on ``AXES``."""
    shape = [sizes[axis] for axis in AXES]
    return np.arange(math.prod(shape)).reshape(shape)


def coordinates_of(number: int, sizes: Sizes) -> dict[str, int]:
    """Return the place on each axis of the rank that is number ``number`` of the mesh.

    >>> coordinates_of(6, fit("data=2,pipe=4", 8))["pipe"]
    2
    """
    where = np.unravel_index(number, [sizes[axis] for axis in AXES])
    return dict(zip(AXES, map(int, where), strict=True))


def members(coordinates: Sizes, axes: Iterable[str], sizes: Sizes) -> list[int]:
    """Return the numbers of the ranks that differ from ``coordinates`` in their places on ``axes`` only, in order.

    >>> sizes = fit("data=2,pipe=4", 8)
    >>> [members(coordinates_of(6, sizes), [axis], sizes) for axis in ("data", "pipe")]
    [[2, 6], [4, 5, 6, 7]]
    """
    axes = list(axes)
    index = tuple(slice(None) if axis in axes else coordinates[axis] for axis in AXES)
    found: list[int] = places(sizes)[index].reshape(-1).tolist()
    return found


def say_placement(sizes: Sizes, nodes: Sequence[int]) -> str:
    """Return which axes have ranks on several nodes, in one line.

    Parameters
    ----------
    sizes : mapping of str to int
    nodes : sequence of int
        The node of each rank, by its number in the mesh.

    >>> say_placement(fit("data=2,pipe=2", 4), [0, 0, 2, 2])
    'mesh data=2,pipe=2: data crosses nodes, pipe stays within a node'
    """
    if len(set(nodes)) == 1:
        return f"mesh {say_mesh(sizes)}: all ranks are on one node"
    node_of = np.asarray(nodes)[places(sizes)]
    used = [(dim, axis) for dim, axis in enumerate(AXES) if sizes[axis] > 1]
    crossing = [axis for dim, axis in used if (node_of != node_of.take([0], dim)).any()]
    staying = [axis for _, axis in used if axis not in crossing]
    parts = [_say(crossing, "crosses nodes", "cross nodes"), _say(staying, "stays within a node", "stay within a node")]
    return f"mesh {say_mesh(sizes)}: {', '.join(filter(None, parts))}"


def _say(axes: list[str], one: str, several: str) -> str:
    return f"{' and '.join(axes)} {one if len(axes) == 1 else several}" if axes else ""
