"""Rules of axis tensor without messages: cuts, runs of layers, and parts of layers."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import BatchNorm2d, Conv2d, Dropout, MultiHeadAttention
from mpitrain.parallel.tensor.chains import find_runs, widest
from mpitrain.parallel.tensor.cut import Cut
from mpitrain.parameter import Shard

SIZE = 3


def test_every_number_has_one_rank():
    for cut in (Cut.even(7, 3), Cut.even(8, 3, groups=2), Cut.even(5, 2).repeated(4), Cut.even(2, 3).repeated(2)):
        numbers = [n for ranges in cut.parts for start, stop in ranges for n in range(start, stop)]
        assert sorted(numbers) == list(range(cut.length))
        assert sum(cut.lengths) == cut.length
        assert max(cut.lengths) - min(cut.lengths) <= (4 if cut.length > 8 else 2)


def test_cuts_of_pixels_and_of_halves():
    assert Cut.even(3, 2).repeated(2).parts == (((0, 2), (3, 5)), ((2, 3), (5, 6)))
    assert Cut.even(3, 1).repeated(2).parts == (((0, 6),),)
    assert Cut.even(10, 2, groups=2).folded(2).parts == Cut.even(5, 2).parts
    assert Cut.even(5, 2).is_in_order
    assert not Cut.even(10, 2, groups=2).is_in_order


def runs_of(model, size=2):
    return [run.roles for run in find_runs([unit.layer for unit in model.units()], size)]


def test_runs_of_products():
    assert runs_of(models.build("mlp:widths=8+8", (4,), 3)) == [{1: "column", 3: "middle", 5: "row"}]
    assert runs_of(models.build("mlp:widths=8+8+8", (4,), 3)) == [{1: "column", 3: "row"}, {5: "column", 7: "row"}]
    assert runs_of(models.build("mlp:widths=9+8", (9,), 9)) == [{1: "column", 3: "middle", 5: "row"}]
    assert runs_of(models.build("lenet", (28, 28, 1), 10)) == [{3: "column", 7: "row"}, {9: "column", 11: "row"}]
    assert runs_of(models.build("mlp:widths=", (4,), 3)) == []
    assert runs_of(models.build("mlp:widths=8+8+8", (4,), 3), 9) == []


def test_runs_in_residual_blocks():
    block = models.build("resnet8", (8, 8, 3), 10)[3]
    assert runs_of(block.body) == [{0: "column", 3: "row"}]
    model = models.build("resnet:blocks=2,widths=32,stem=32,small_images=true", (8, 8, 3), 10)
    assert runs_of(model[4].body) == [{0: "column", 3: "middle", 6: "row"}]
    assert widest([unit.layer for unit in block.body.units()]) == 16


def bound(layer, seed=3):
    Arena(layer, seed=seed, dtype=np.float64)
    return layer


@pytest.mark.parametrize("groups", [1, 6], ids=["dense", "depthwise"])
def test_parts_of_a_convolution(groups):
    whole = bound(Conv2d(6, 6, 3, padding=1, groups=groups))
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 6))
    y = np.array(whole.forward(x, Context(dtype=np.float64)))
    for rank in range(SIZE):
        shard = Cut.even(6, SIZE).shard(3, rank)
        part = bound(whole.part(shard))
        ((start, stop),) = shard.ranges
        own = x if groups == 1 else np.ascontiguousarray(x[..., start:stop])
        np.testing.assert_allclose(part.forward(own, Context(dtype=np.float64)), y[..., start:stop], 1e-12, 1e-12)
    with pytest.raises(ValueError, match="only a convolution of one group"):
        Conv2d(6, 6, 3, groups=2).part(Shard(3, ((0, 2),)))


def test_a_part_of_a_batch_norm_has_its_statistics():
    whole = bound(BatchNorm2d(5))
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 5))
    y = np.array(whole.forward(x, Context(dtype=np.float64)))
    part = bound(whole.part(Shard(0, ((1, 3),))))
    np.testing.assert_allclose(part.forward(np.ascontiguousarray(x[..., 1:3]), Context(dtype=np.float64)), y[..., 1:3])
    np.testing.assert_array_equal(part.running_mean.data, whole.running_mean.data[1:3])


def test_parts_of_attention_add_up():
    """Heads of one rank more than another's; masks of the whole layer."""
    whole = bound(MultiHeadAttention(24, 6, causal=True, num_kv_heads=3, dropout=0.3))
    x = np.random.default_rng(0).standard_normal((2, 5, 24))
    y = np.array(whole.forward(x, Context(dtype=np.float64, seed=4)))
    total = np.zeros_like(y)
    for first, stop in ((0, 2), (2, 3)):
        part = bound(whole.part(first, stop))
        assert part.place == (2 * first, 6)
        assert part.qkv.spans() == {"q": (0, 8 * (stop - first)), "k": (8 * (stop - first), 12 * (stop - first))} | {
            "v": (12 * (stop - first), 16 * (stop - first))
        }
        total += part.forward(x, Context(dtype=np.float64, seed=4))
    np.testing.assert_allclose(total + whole.out.bias.data, y, 1e-12, 1e-12)


def test_parts_of_a_mask():
    whole, x = Dropout(0.4), np.ones((3, 4, 10))
    y = np.array(whole.forward(x, Context(dtype=np.float64, seed=2)))
    for shard, length in ((Shard(-1, ((0, 2), (5, 7))), 10), (Shard(1, ((1, 4),)), 4)):
        part = whole.part(lambda shard=shard, length=length: (shard, length))
        expected = np.concatenate(
            [y[:, a:b] if shard.dim == 1 else y[..., a:b] for a, b in shard.ranges], axis=shard.dim
        )
        found = part.forward(np.ones_like(expected), Context(dtype=np.float64, seed=2))
        np.testing.assert_array_equal(found, expected)
