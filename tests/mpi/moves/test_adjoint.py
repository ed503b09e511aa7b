"""Moves are adjoint to rounding, and wrong ones are found."""

import pytest

from mpitrain.layers import GELU, Linear, Sequential
from mpitrain.parallel.moves import AllGather, Copy, Gather, Halo, Sum
from mpitrain.parallel.moves.cases import CASES, cases_of
from mpitrain.parallel.moves.check import check_adjoint

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("name", CASES)
def test_adjoint(group, name):
    few = group.size > 4  # ranks that share cores take long
    for seed in range(1 if few else 2):
        for case in cases_of(name, group, seed)[:: 2 if few else 1]:
            checked = check_adjoint(case.layer, case.shape, group, seed=seed)
            assert checked.passed, (case.name, case.shape, checked)
            assert checked.error < 1e-13


class Forgetful(Copy):
    """A copy that sums nothing."""

    def backward(self, dy, ctx):
        return dy


class Mean(Sum):
    """A sum whose backward divides."""

    def backward(self, dy, ctx):
        return dy / self.group.size


class OwnPart(AllGather):
    """An all-gather with the backward of Gather."""

    def backward(self, dy, ctx):
        return self._own(dy, ctx.backward, "dx")


class NoEdges(Halo):
    """A halo whose backward leaves out what other ranks have."""

    def backward(self, dy, ctx):
        first = self._own[0] - self._need[0]
        return dy[:, first : first + self._own[1] - self._own[0]]


class RanksDiffer(Gather):
    """A gather that is right on rank 0 only."""

    def forward(self, x, ctx):
        return super().forward(x, ctx) * (1 if self.group.rank == 0 else 1 + 1e-9)


@pytest.mark.parametrize(
    ("make_wrong", "why"),
    [
        (Forgetful, "dx must be the same on all ranks"),
        (Mean, "<F x, dy> and <x, F* dy> differ"),
        (lambda group: OwnPart(group, 1, 3 * group.size), "<F x, dy> and <x, F* dy> differ"),
        (lambda group: NoEdges(group, 1, 3 * group.size), "<F x, dy> and <x, F* dy> differ"),
        (lambda group: RanksDiffer(group, 1, 3 * group.size), "y must be the same on all ranks"),
    ],
)
def test_wrong_moves_are_found(group, make_wrong, why):
    checked = check_adjoint(make_wrong(group), (4, 3 * group.size, 2), group)
    assert checked.passed == (group.size == 1)
    if group.size > 1:
        assert why in checked.why


def test_layers_that_are_not_linear(group):
    def local(*middle):
        return Sequential(Linear(6, 4), *middle, Linear(4, 2))

    assert check_adjoint(local(GELU()), (3, 6), group).passed
    checked = check_adjoint(local(Twice()), (3, 6), group)
    assert checked.why.startswith("<F x, dy> and <x, F* dy> differ by ")


class Twice(GELU):
    def backward(self, dy, ctx):
        return 2 * super().backward(dy, ctx)
