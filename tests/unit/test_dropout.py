import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Dropout
from mpitrain.ops import OPS
from tests.cpu_kernels import levels, use
from tests.gradients import check_layer


def masked(layer, x, first=0, step=3, seed=5):
    ctx = Context(seed=seed, dtype=x.dtype)
    ctx.first, ctx.step = first, step
    return layer.forward(x, ctx).copy()


@pytest.mark.parametrize("shape", [(5, 3), (0, 3), (2, 3, 5, 1), (3, 20_000)])
def test_gradients(shape):
    check_layer(Dropout(0.4), np.random.default_rng(1).standard_normal(shape))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.sampled_from([(1,), (16,), (17,), (3, 3, 5), (9000,)]))
def test_a_mask_is_the_same_in_any_split(sizes, sample):
    layer = Dropout(0.5)
    x = np.ones((sum(sizes), *sample), np.float32)
    ends = np.cumsum(sizes)
    parts = [masked(layer, x[end - size : end], first=end - size) for size, end in zip(sizes, ends)]
    np.testing.assert_array_equal(masked(layer, x), np.concatenate(parts))


@levels
def test_in_c(kernels, level, threads):
    use(level, threads)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows, columns = (int(x) for x in rng.integers(0, 90, 2))
        position = seed, int(rng.integers(0, 9)), int(rng.integers(0, 2**62)), int(rng.integers(0, 2**40))
        mask, expected = np.full((rows, columns), np.nan, np.float32), np.empty((rows, columns), np.float32)
        p = float(rng.random())
        assert kernels.dropout_mask(mask, round(p * 65536), *position)
        OPS["dropout_mask"].numpy(expected, p, position)
        np.testing.assert_array_equal(mask, expected, err_msg=str((seed, position)))
    assert not kernels.dropout_mask(mask.astype(np.float64), 3, 0, 0, 0, 0)


def test_masks_differ_by_sample_step_seed_and_layer():
    x = np.ones((2, 200), np.float32)
    layer, other = Dropout(0.5), Dropout(0.5)
    other.number = 1
    masks = [*masked(layer, x), masked(layer, x, step=4)[0], masked(layer, x, seed=6)[0], masked(other, x)[0]]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert 0.3 < np.mean(a == b) < 0.7


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_mean_is_kept(p):
    y = masked(Dropout(p), np.ones((100, 1000), np.float32))
    assert set(np.unique(y)) == {0, np.float32(1 / (1 - round(p * 65536) / 65536))}
    assert abs(np.mean(y == 0) - p) < 0.005
    assert abs(y.mean() - 1) < 0.02


def test_nothing_is_dropped_in_evaluation_or_with_p_0():
    x = np.ones((3, 4), np.float32)
    assert Dropout(0.5).forward(x, Context(training=False)) is x
    assert Dropout(0.0).forward(x, Context()) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 2])
def test_impossible_probability(p):
    with pytest.raises(UserError, match="probability"):
        Dropout(p)
