"""Rules of axis space without ranks: states behind layers, and rows above and below those of a rank."""

import itertools

import pytest

from mpitrain.data.sampler import share
from mpitrain.layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    DenseBlock,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    Recompute,
    ReLU,
    Residual,
    Sequential,
    SkipConcat,
)
from mpitrain.models import build
from mpitrain.ops.window import Window
from mpitrain.parallel.space.edge import Edge
from mpitrain.parallel.space.geometry import Geometry, Size
from mpitrain.parallel.space.rules import after
from mpitrain.parallel.space.table import SAMPLES

SIZE = Size(9, 7)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Conv2d(3, 2, 3, 2), Size(4, 3)),
        (MaxPool2d(3, 2, 1), Size(5, 4)),
        (Dropout(), SIZE),
        (Linear(3, 2), SIZE),
        (Flatten(), None),
        (GlobalAvgPool(), SAMPLES),
        (Sequential(Conv2d(3, 2, 3), ReLU(), Flatten(), Linear(2, 2)), SAMPLES),
        (Sequential(Flatten(), Linear(2, 2)), None),
        (Residual(Conv2d(3, 3, 3, padding=1)), SIZE),
        (Residual(Sequential(Conv2d(3, 3, 3, padding=1), Flatten())), None),
        (Residual(Conv2d(3, 4, 3, 2), Conv2d(3, 4, 3, 2), ReLU()), Size(4, 3)),
        (Recompute(Sequential(Conv2d(3, 4, 3), GlobalAvgPool())), None),
        (SkipConcat(Sequential(MaxPool2d(2))), SIZE),
        (SkipConcat(GlobalAvgPool()), None),
        (MaxPool2d(2, ceil_mode=True), Size(5, 4)),
        (AvgPool2d(3, 1, 1), SIZE),
        (AvgPool2d(3, 1, 1, count_include_pad=False), None),
        (Concat(Conv2d(3, 2, 3, 2), MaxPool2d(3, 2)), Size(4, 3)),
        (Concat(ReLU(), MaxPool2d(3, 2)), None),
        (Concat(GlobalAvgPool(), GlobalAvgPool()), None),
        (DenseBlock(Sequential(BatchNorm2d(3), Conv2d(3, 2, 3, padding=1)), growth=2), SIZE),
        (DenseBlock(Conv2d(3, 2, 3), growth=2), None),
    ],
)
def test_the_state_behind_a_layer(layer, expected):
    assert after(layer, SIZE) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            ("lenet", SAMPLES),
            ("convnet", SAMPLES),
            ("resnet20", SAMPLES),
            ("resnet18", SAMPLES),
            ("unet", Size(24, 32)),
        ),
        *(("googlenet", SAMPLES), ("inception_v3:small_images=true", SAMPLES), ("densenet:blocks=2+2", SAMPLES)),
    ],
)
def test_built_in_models(name, expected):
    assert after(build(name, (24, 32, 3), 5), Size(24, 32)) == expected


def test_edges_have_all_that_outputs_need_from_other_ranks():
    """Each tap of each output reads an own row, a row beyond the image, or a row of one of the two slabs."""
    suits = 0
    for kernel, stride, padding, dilation in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2, 4), (1, 2)):
        window = Window((kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
        for height, ranks in itertools.product((6, 7, 12, 23), (1, 2, 3, 5)):
            if height + 2 * padding < window.extent(0):
                continue
            outputs = window.output((height, 1))[0]
            for rank in range(ranks):
                geometry = Geometry(window, height, share(height, rank, ranks), share(outputs, rank, ranks))
                suits += _check(geometry)
    assert suits > 500


def _check(geometry):
    """Return whether padding gives the outputs of the rank; its edges must have all taps that reach over."""
    if not geometry.fits():
        return False
    window, own = geometry.window, geometry.own
    stride, padding, dilation = window.stride[0], window.padding[0], window.dilation[0]
    above, below = Edge.above(geometry), Edge.below(geometry)
    for place, output in enumerate(range(geometry.outputs.start, geometry.outputs.stop)):
        for tap in range(window.kernel[0]):
            row = output * stride - padding + tap * dilation
            if own.start <= row < own.stop or not 0 <= row < geometry.height:
                continue
            edge = above if row < own.start else below
            assert edge is not None
            assert edge.taps.start <= tap < edge.taps.stop
            assert edge.outputs.start <= place < edge.outputs.stop
            first = edge.first + (place - edge.outputs.start) * stride
            assert row == first + (tap - edge.taps.start) * dilation
    return True
