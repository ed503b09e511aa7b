"""Cross-entropy of logits divided among ranks: sums and gradient of whole logits."""

import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.parallel.tensor.cross_entropy import DividedCrossEntropy
from mpitrain.parallel.tensor.cut import Cut

pytestmark = pytest.mark.mpi

OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.2},
    "class weights": {"label_smoothing": 0.1, "class_weights": True},
    "another target to ignore": {"ignore_index": 2},
}


@pytest.fixture
def group(world):
    return world.group("tensor")


def cut_of(lengths):
    stops = np.cumsum(lengths)
    return Cut(int(stops[-1]), tuple(((int(b - a), int(b)),) for a, b in zip(lengths, stops, strict=True)))


def lengths_of(size):
    """Return lengths of all parts: even and uneven ones, and a rank without columns."""
    return [[5] * size, [3 + 4 * (rank % 2) for rank in range(size)], [0] * (size > 1) + [4] * (size - (size > 1))]


@pytest.mark.parametrize("kind", ["numbers", "ties", "far apart"])
@pytest.mark.parametrize("name", OPTIONS)
def test_whole_logits(group, name, kind):
    rng = np.random.default_rng(5)
    print("seed 5")
    for lengths in lengths_of(group.size):
        cut = cut_of(lengths)
        options = dict(OPTIONS[name])
        if options.get("class_weights"):
            options["class_weights"] = tuple(rng.uniform(0.5, 2, cut.length))
        logits, y = rng.standard_normal((13, cut.length)), rng.integers(0, cut.length, 13)
        if kind == "ties":
            logits = np.round(logits)
        elif kind == "far apart":
            logits *= 300
        y[::4] = options.get("ignore_index", -100)
        loss, ctx = SoftmaxCrossEntropy(**options), Context(dtype=np.float64)
        totals = loss.forward(logits, y, ctx)
        gradient = loss.backward(ctx)
        ((start, stop),) = cut.parts[group.rank]
        divided = DividedCrossEntropy(loss, cut, group)
        found = divided.forward(logits[:, start:stop].copy(), y, ctx)
        assert found == pytest.approx(totals, rel=1e-13)
        np.testing.assert_allclose(divided.backward(ctx), gradient[:, start:stop], 1e-13, 1e-13)
        for sums in group.all_gather(found):
            assert sums == found  # the same bits on all ranks


def test_no_rows_and_bad_targets(group):
    divided = DividedCrossEntropy(SoftmaxCrossEntropy(), Cut.even(7, group.size), group)
    columns = divided.cut.lengths[group.rank]
    found, _ = divided.gradient(np.zeros((0, columns)), np.zeros(0, np.int64), Context(dtype=np.float64))
    assert found == (0, 0, 0)
    with pytest.raises(UserError, match="a target is 7, but the model has 7 outputs"):
        divided.gradient(np.zeros((1, columns)), np.array([7]), Context(dtype=np.float64))
    with pytest.raises(UserError, match="needs integer targets"):
        divided.gradient(np.zeros((1, columns)), np.zeros(1), Context(dtype=np.float64))
