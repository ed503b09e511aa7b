"""Sizes of a mesh as text, and the places of ranks: without MPI."""

import doctest
import math

import numpy as np
import pytest

from mpitrain.comm import axes
from mpitrain.comm.axes import AXES, coordinates_of, fit, members, places, say_mesh, say_placement
from mpitrain.errors import UserError

TWO = "2 ranks there is data=2,pipe=1 or data=1,pipe=2"
FOUR = "4 ranks there is data=4,pipe=1 or data=2,pipe=2"
MISTAKES = {
    ("pipe=3", 8): "pipe=3 does not divide the number of ranks; for 8 ranks there is data=2,pipe=4 or data=4,pipe=2",
    ("data=3,pipe=4", 8): "the mesh data=3,pipe=4 has 12 ranks, not 8; "
    "for 8 ranks there is data=2,pipe=4 or data=4,pipe=2",
    ("pipe=0", 2): f"the size of axis pipe is 0, but must be at least 1; for {TWO}",
    ("data=-2,pipe=2", 4): f"the size of axis data is -2, but must be at least 1; for {FOUR}",
    ("pip=2", 2): f"a mesh has no axis 'pip' (did you mean 'pipe'?); for {TWO}",
    ("rows=2", 4): f"a mesh has no axis 'rows', only data, pipe, space, context, tensor, expert; for {FOUR}",
    ("pipe=2,data=2,pipe=2", 4): "the mesh names axis pipe twice; for 4 ranks there is data=2,pipe=2 or data=4,pipe=1",
    ("pipe=", 4): f"the sizes of data and pipe are not given, but only one can be inferred; for {FOUR}",
    ("tensor=3,data=1", 4): "the mesh tensor=3,data=1 has 3 ranks, not 4; "
    "for 4 ranks there is data=1,tensor=4 or data=2,tensor=2",
    ("pipe=two", 4): f"the size of axis pipe is 'two', but must be a whole number; for {FOUR}",
    ("4", 4): f"a mesh is written as data=2,pipe=4, not as 4; for {FOUR}",
    ("pipe=2", 1): "pipe=2 does not divide the number of ranks; for 1 rank there is data=1,pipe=1",
}


@pytest.mark.parametrize(
    ("text", "size", "found"),
    [
        ("", 6, "data=6"),
        ("data=6", 6, "data=6"),
        ("pipe=3", 6, "data=2,pipe=3"),
        ("pipe=3,", 6, "data=2,pipe=3"),
        ("data=,pipe=6", 6, "pipe=6"),
        ("data=2,pipe=", 6, "data=2,pipe=3"),
        (" pipe = 3 , data = 2 ", 6, "data=2,pipe=3"),
        ("pipe=1,tensor=1,expert=1", 5, "data=5"),
        ({"pipe": None, "data": 3}, 6, "data=3,pipe=2"),
        ({}, 1, "data=1"),
    ],
)
def test_sizes(text, size, found):
    sizes = fit(text, size)
    assert say_mesh(sizes) == found
    assert list(sizes) == list(AXES)
    assert math.prod(sizes.values()) == size


@pytest.mark.parametrize(("mesh", "message"), MISTAKES.items(), ids=str)
def test_mistakes(mesh, message):
    with pytest.raises(UserError) as error:
        fit(*mesh)
    assert str(error.value) == message


def sizes_of(*shape):
    return dict(zip(AXES, (*shape, 1)[: len(AXES)], strict=True))


@pytest.mark.parametrize("shape", [(2, 3, 1, 1, 1), (2, 2, 2, 3, 2), (1, 1, 1, 1, 1), (2, 1, 1, 2, 1, 3)])
def test_places(shape):
    """Coordinates number all ranks, groups of an axis share none, and neighbors on the last axis are neighbors."""
    sizes = sizes_of(*shape)
    whole = range(math.prod(shape))
    assert [int(places(sizes)[tuple(coordinates_of(n, sizes)[axis] for axis in AXES)]) for n in whole] == list(whole)
    for axis in AXES:
        groups = {tuple(members(coordinates_of(n, sizes), [axis], sizes)) for n in whole}
        assert sorted(np.concatenate([*groups])) == list(whole)
        assert {len(group) for group in groups} == {sizes[axis]}
    for number in whole:
        place = coordinates_of(number, sizes)
        assert members(place, (), sizes) == [number]
        assert members(place, AXES, sizes) == list(whole)
        inner = members(place, ["tensor"], sizes)
        assert inner == list(range(inner[0], inner[0] + sizes["tensor"] * sizes["expert"], sizes["expert"]))
        assert number in members(place, ["pipe", "space"], sizes)


@pytest.mark.parametrize(
    ("shape", "nodes", "text"),
    [
        ((2, 2, 1, 1, 1), [0, 0, 0, 0], "mesh data=2,pipe=2: all ranks are on one node"),
        ((2, 2, 1, 1, 1), [0, 0, 2, 2], "mesh data=2,pipe=2: data crosses nodes, pipe stays within a node"),
        ((2, 2, 1, 1, 1), [0, 1, 2, 3], "mesh data=2,pipe=2: data and pipe cross nodes"),
        ((2, 3, 1, 1, 1), [0, 0, 0, 0, 4, 4], "mesh data=2,pipe=3: data and pipe cross nodes"),
        ((1, 4, 1, 1, 1), [0, 0, 2, 2], "mesh pipe=4: pipe crosses nodes"),
        (
            (2, 2, 1, 1, 2),
            [0, 0, 0, 0, 4, 4, 4, 4],
            "mesh data=2,pipe=2,tensor=2: data crosses nodes, pipe and tensor stay within a node",
        ),
    ],
)
def test_axes_that_cross_nodes(shape, nodes, text):
    assert say_placement(sizes_of(*shape), nodes) == text


def test_examples():
    assert doctest.testmod(axes).attempted > 4
    assert doctest.testmod(axes).failed == 0
