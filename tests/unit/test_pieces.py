"""Pieces of an arena: all of it, each with whole layers, and what two layers share apart."""

import pytest

from mpitrain import models
from mpitrain.arena import HEADER, Arena
from mpitrain.layers import Layer, Linear, Sequential
from mpitrain.parallel.pieces import cut_pieces, find_units


def gpt():
    return models.build("gpt:depth=2,width=8,heads=2", (6,), 5, codes=models.Codes(5, 6))


class Own(Layer):
    """A model that is no Sequential: layers in a list, and a parameter of its own."""

    def __init__(self):
        self.blocks = [Linear(3, 3), Linear(3, 3)]
        self.scale = Linear(3, 1).weight

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        return dy


@pytest.mark.parametrize("least", [0, 100, 10**9])
@pytest.mark.parametrize("make", [gpt, Own, lambda: Sequential(Linear(2, 3), Sequential(Linear(3, 4), Linear(4, 1)))])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_pieces_are_the_whole_arena(make, least, frozen, size):
    model = make()
    for name, p in model.named_parameters():
        p.frozen = frozen and "bias" in name
    arena = Arena(model)
    pieces = cut_pieces(model, arena, least)
    assert [piece.start for piece in pieces] == [HEADER, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == arena.num_values
    for piece in pieces:
        assert all(piece.start <= p.start and p.stop <= piece.stop for p in piece.parameters)
        assert {p.frozen for p in piece.parameters} == {not piece.trained}
        shares = [piece.share(size, rank) for rank in range(size)]
        assert [share.start for share in shares] == [piece.start, *(share.stop for share in shares[:-1])]
        assert shares[-1].stop == piece.stop
    held = [p for piece in pieces for p in piece.parameters]
    assert held == [*arena.parameters, *arena.frozen]


def test_a_shared_table_is_a_piece_of_both_units():
    model = gpt()
    pieces = cut_pieces(model, Arena(model), 0)
    shared = [piece for piece in pieces if len(piece.units) > 1]
    assert [[p.name for p in piece.parameters] for piece in shared] == [["0.weight"]]
    assert shared[0].units[0] == 0


def test_small_neighbors_join():
    layers = Sequential(*(Linear(10, 10, bias=False) for _ in range(6)), Linear(10, 100, bias=False), Linear(100, 1))
    sizes = [sum(p.size for p in unit) for unit in find_units(layers, 300)]
    assert sizes == [300, 300, 1000, 101]
    assert [sum(p.size for p in unit) for unit in find_units(layers, 0)] == [100] * 6 + [1000, 101]
