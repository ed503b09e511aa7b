"""Rows of images over ranks: forward, dx, dw and db of one rank, for any window, height and number of ranks."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.errors import UserError
from mpitrain.layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    DenseBlock,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool2d,
    Recompute,
    ReLU,
    Residual,
    Sequential,
    SkipConcat,
)
from mpitrain.models import build, prepare
from mpitrain.parallel.moves.exchange import pool_of
from mpitrain.parallel.space import check, divide
from mpitrain.training.devices import use_device
from tests.kernels import cpu

pytestmark = pytest.mark.mpi
TOLERANCE = 1e-12


@pytest.fixture
def group(world):
    group = world.group("data")
    yield group
    pool_of(group).free()  # the next test may have other devices


def sum_over(group):
    """Sum a vector over the ranks, as DataParallel does for batch norms."""
    return lambda vector: group.all_reduce(vector, "ring")


def run(model, x, slope, *, group=None, steps=1, later=False):
    """Return y, dx and the gradients by name, summed over the ranks of ``group``, after some microbatches."""
    arena, ctx = Arena(model, seed=3, dtype=np.float64), Context(dtype=np.float64)
    for layer in model.layers():
        if isinstance(layer, BatchNorm2d) and group is not None:
            layer.sum_over_ranks = sum_over(group)
    arena.begin_step(steps)
    for _ in range(steps):
        ctx.later = [] if later else None
        ctx.step, ctx.first = 5, 7
        y = np.array(model.forward(x, ctx))
        dx = model.backward(np.array(slope(y)), ctx)
        for put_gradient in ctx.later or ():
            put_gradient()
        dx = np.array(dx)
        ctx.later = None
    gradients = arena.gradients.copy() if group is None else group.all_reduce(arena.gradients.copy(), "ring")
    for parameter in arena.parameters:
        assert parameter._writes == steps * parameter.uses, parameter.name
    return y, dx, gradients, [p.name for p in arena.parameters]


def compare(make, shape, group, *, seed=0, offset=0.0, tolerance=TOLERANCE, **options):
    """Run a model on rows and on one rank; return the divided model."""
    rng = np.random.default_rng(seed)
    x = offset + rng.standard_normal(shape)
    slopes = []

    def draw(y):
        slopes.append(rng.standard_normal(y.shape))
        return slopes[0]

    y, dx, gradients, names = run(make(), x.copy(), draw, **options)
    division = divide(make(), group, shape[1:])
    mine = run(division.model, x, lambda _: division.targets(slopes[0]), group=group, **options)
    assert mine[3] == names
    np.testing.assert_allclose(mine[0], division.targets(y), tolerance, tolerance, err_msg=f"y, seed {seed}")
    if len(dx) == 0:  # not needed, or the images are none
        assert len(mine[1]) == 0
    else:
        np.testing.assert_allclose(mine[1], dx, tolerance, tolerance, err_msg=f"dx, seed {seed}")
    np.testing.assert_allclose(mine[2], gradients, tolerance, tolerance, err_msg=f"gradients, seed {seed}")
    if division.outputs is not None:
        whole = division.outputs.forward(mine[0], Context(dtype=np.float64))
        np.testing.assert_allclose(whole, y, tolerance, tolerance)
    return division.model


WINDOWS = [  # kernel, stride, padding, dilation
    ((3, 3), 1, 1, 1),
    ((5, 3), 1, (2, 1), 1),
    ((2, 2), 2, 0, 1),
    ((2, 3), 1, (1, 0), 1),
    ((4, 2), 1, (0, 1), 1),
    ((3, 3), 2, 1, 1),
    ((7, 7), 2, 3, 1),
    ((3, 3), 1, 2, 2),
    ((3, 1), 2, (3, 0), 3),
    ((1, 1), 2, 0, 1),
    ((1, 2), 3, (2, 0), 1),
]


@pytest.mark.parametrize("window", WINDOWS)
def test_convolutions(group, window):
    """Even and uneven heights, fewer rows than ranks, ranks without outputs; two microbatches."""
    kernel, stride, padding, dilation = window
    for height in (5, 8, 13):
        if height + 2 * np.max(padding) < 1 + (kernel[0] - 1) * dilation:
            continue
        compare(
            lambda: Sequential(Conv2d(3, 4, kernel, stride, padding, dilation)),
            (2, height, 7, 3),
            group,
            steps=2,
            later=height == 8,
        )


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_and_depthwise(group, groups):
    compare(lambda: Sequential(Conv2d(4, 4, 3, padding=1, groups=groups, bias=False)), (2, 9, 5, 4), group)


@pytest.mark.parametrize("seed", range(6))
def test_random_windows(group, seed):
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = rng.integers(1, 5), rng.integers(1, 4), rng.integers(1, 3)
    extent = (kernel - 1) * dilation + 1
    padding, height = rng.integers(0, 4), extent + rng.integers(0, 20)
    numbers = [int(number) for number in (kernel, stride, padding, dilation)]
    print("seed", seed, "kernel, stride, padding, dilation", numbers, "height", height)
    compare(lambda: Sequential(Conv2d(2, 3, *numbers)), (1, int(height), int(extent) + 1, 2), group, seed=seed)


POOLS = [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 1, 1), (3, 2, 0), (3, 3, 0), (2, 3, 0)]


def rounded_up(*window):
    return MaxPool2d(*window, ceil_mode=True)


@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d, rounded_up])
@pytest.mark.parametrize("window", POOLS)
def test_pools(group, pool, window):
    """All pixels are negative, so that padding of 0 would be seen by a max pool."""
    for height in (4, 7, 12):
        compare(lambda: Sequential(pool(*window)), (2, height, 6, 3), group, offset=-9.0)
        compare(lambda: Sequential(pool(*window), ReLU()), (2, height, 6, 3), group)


TRANSPOSED = [(2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 1, 1), (1, 2, 0), (2, 3, 0), (5, 2, 0)]


@pytest.mark.parametrize("window", TRANSPOSED)
def test_transposed_convolutions(group, window):
    """Kernels longer and shorter than the stride, which leaves rows with nothing but the bias."""
    for height in (3, 8, 9):
        compare(lambda: Sequential(ConvTranspose2d(3, 4, *window)), (2, height, 5, 3), group)


def block(inputs, outputs, stride):
    body = Sequential(
        *(Conv2d(inputs, outputs, 3, stride, 1, bias=False), BatchNorm2d(outputs), ReLU()),
        *(Conv2d(outputs, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs)),
    )
    return Residual(body, Sequential(Conv2d(inputs, outputs, 1, stride), BatchNorm2d(outputs)), ReLU())


def frozen(conv):
    """Freeze the weights, but not the bias of a layer with 3 inputs and 2 outputs."""
    conv.weight.frozen = True
    conv.bias.frozen = conv.out_channels != 2
    return conv


def dense(channels, growth):
    return Sequential(BatchNorm2d(channels), ReLU(), Conv2d(channels, growth, 3, padding=1))


MODELS = {
    "branches": lambda: Sequential(
        *(Conv2d(3, 4, 3, padding=1), Concat(Conv2d(4, 2, 3, 2), Sequential(Conv2d(4, 3, 1), ReLU(), MaxPool2d(3, 2)))),
        *(ReLU(), GlobalAvgPool(), Linear(5, 3)),
    ),
    "the turn before branches": lambda: Sequential(
        *(Conv2d(3, 3, 3, padding=1), Concat(ReLU(), AvgPool2d(3, 1, 1, count_include_pad=False)), Conv2d(6, 2, 3))
    ),
    "a dense block": lambda: Sequential(
        *(Conv2d(3, 4, 3, padding=1), DenseBlock(dense(4, 2), dense(6, 2), growth=2), BatchNorm2d(8), ReLU()),
        *(Conv2d(8, 3, 1), AvgPool2d(2), DenseBlock(dense(3, 2), growth=2), GlobalAvgPool()),
    ),
    "residual blocks": lambda: Sequential(block(3, 4, 1), block(4, 6, 2), GlobalAvgPool(), Linear(6, 5)),
    "recompute": lambda: Sequential(Conv2d(3, 4, 3, padding=1), Recompute(block(4, 6, 2)), GlobalAvgPool(), ReLU()),
    "first is recomputed": lambda: Recompute(Sequential(Conv2d(3, 4, 3, 2), ReLU(), Conv2d(4, 2, 3, padding=1))),
    "flatten": lambda: Sequential(Conv2d(3, 4, 3, padding=1), MaxPool2d(2), ReLU(), Flatten(), Linear(6 * 4 * 4, 5)),
    "dropout": lambda: Sequential(
        *(Conv2d(3, 4, 3, padding=1), Dropout(0.5), Flatten(), Dropout(0.3), Linear(13 * 9 * 4, 5), Dropout(0.2))
    ),
    "nested": lambda: Sequential(Sequential(Conv2d(3, 4, 3), ReLU()), Sequential(Flatten(), Linear(11 * 7 * 4, 2))),
    "low at the end": lambda: Sequential(
        *(Conv2d(3, 4, 3, 4, 1), Conv2d(4, 4, 3, 4, 1), BatchNorm2d(4), Conv2d(4, 4, 3, padding=1), MaxPool2d(1)),
        *(Linear(4, 3), Flatten()),
    ),
    "the turn in a branch": lambda: Sequential(
        Conv2d(3, 3, 3, padding=1), Residual(Sequential(ReLU(), Unknown()), Sequential(Conv2d(3, 3, 1))), ReLU()
    ),
    "frozen layers": lambda: prepare(
        Sequential(frozen(Conv2d(3, 4, 3, padding=1)), ReLU(), Conv2d(4, 3, 3, 2), frozen(Conv2d(3, 2, 3, padding=1)))
    ),
    "a pixelwise layer": lambda: Sequential(Conv2d(3, 4, 3, padding=1), Pixelwise(), Conv2d(4, 2, 3, 2)),
    "odd sizes in a U-Net": lambda: Sequential(
        *(Conv2d(3, 4, 3, padding=1), SkipConcat(Sequential(MaxPool2d(2), ConvTranspose2d(4, 2, 2))), Conv2d(6, 2, 1))
    ),
    "larger than the shortcut": lambda: Sequential(SkipConcat(Sequential(ConvTranspose2d(3, 2, 2), ReLU()))),
}


class Pixelwise(ReLU):
    """A layer of a user's."""

    per_pixel = True


class Unknown(Layer):
    """A layer that mixes all pixels: y[i] = x[-i]."""

    def forward(self, x, ctx):
        return np.ascontiguousarray(x[:, ::-1])

    def backward(self, dy, ctx):
        return np.ascontiguousarray(dy[:, ::-1])


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_models(group, name, later):
    for samples in (3, 1, 0) if group.size < 4 else (3, 1):
        compare(MODELS[name], (samples, 13, 9, 3), group, steps=2, later=later)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("lenet", (5, 28, 28, 1)),
        ("lenet", (1, 12, 12, 1)),
        ("convnet", (3, 9, 8, 1)),
        ("resnet8", (4, 16, 16, 3)),
        ("resnet20", (2, 8, 8, 3)),
        ("googlenet:width=0.05", (4, 75, 60, 3)),
        ("mobilenet_v1:width=0.1", (2, 40, 17, 3)),
        ("densenet:blocks=2+3,growth=3", (2, 26, 17, 3)),
        ("vgg:convolutions=1+2,channels=4+6,hidden=8", (3, 13, 8, 1)),
        ("resnet:blocks=1+1,widths=8+16,stem=4", (2, 37, 20, 3)),
        ("unet:depth=2,width=4", (2, 16, 12, 3)),
        ("unet:depth=2,width=4,batch_norm=false", (1, 21, 9, 3)),
    ],
)
def test_built_in_models(group, name, shape):
    def make():
        model = build(name, shape[1:], 4)
        assert not model[0].needs_dx
        return model

    is_deep = name.startswith(("inception", "googlenet", "mobilenet"))  # batch norms enlarge roundings
    compare(make, shape, group, tolerance=1e-7 if is_deep else TOLERANCE)


def test_memory_is_divided(group):
    """Ranks hold their rows, and little more: halos of a row or two, of 96."""
    shape, num_bytes = (1, 96, 16, 3), []
    for ranks in (group.size, 1):
        model = prepare(build("unet:depth=2,width=8", shape[1:], 4))
        x = np.ones(shape)
        if ranks > 1:
            model = divide(model, group, shape[1:]).model
        arena, ctx = Arena(model, dtype=np.float64), Context(dtype=np.float64)
        for layer in model.layers():
            if isinstance(layer, BatchNorm2d) and ranks > 1:
                layer.sum_over_ranks = sum_over(group)
        arena.begin_step(1)
        model.backward(np.ones_like(model.forward(x, ctx)), ctx)
        num_bytes.append(ctx.num_bytes)
    assert num_bytes[0] * group.size < (1 + 0.15 * (group.size - 1)) * num_bytes[1] + 1


def test_only_what_is_needed_is_sent(group):
    """Halos of 1 row for a 3x3 convolution, none for pools and strides that divide the rows, none for the images."""
    size = group.size
    layers = [Conv2d(3, 4, 3, padding=1), MaxPool2d(2), Conv2d(4, 4, 2, 2), ConvTranspose2d(4, 2, 2), Conv2d(2, 2, 1)]
    model = prepare(Sequential(*layers))
    model = compare(lambda: model, (2, 4 * size, 6, 3), group) if size == 1 else divided_once(layers, group)
    moves = [layer for layer in model.layers() if hasattr(layer, "exchange")]
    neighbors = (group.rank > 0) + (group.rank < size - 1)
    sent = {type(move).__name__: move.exchange.bytes_sent for move in moves}
    if size > 1:
        assert sent == {"Split": 0, "Halo": neighbors * 2 * 6 * 3 * 8}


def divided_once(layers, group):
    x = np.ones((2, 4 * group.size, 6, 3))
    model = divide(prepare(Sequential(*layers)), group, x.shape[1:]).model
    run(model, x, np.ones_like, group=group)
    return model


@cpu.needs_gxx
def test_on_a_device(world, group, device):
    """On all ranks or on some: near the results of the CPU, in single precision."""
    found, expected = (run_on(one, world, group) for one in (device, CPU))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, 1e-4, 1e-4)


def run_on(device, world, group):
    """Return y, dx and gradients of a model on arrays of ``device``."""
    use_device(device, world)
    try:
        layers = [
            Conv2d(3, 4, 3, padding=1),
            MaxPool2d(3, 2, 1),
            ReLU(),
            ConvTranspose2d(4, 4, 3, 2),
            Conv2d(4, 4, 3, 2),
        ]
        model = divide(Sequential(*layers, GlobalAvgPool(), Linear(4, 3)), group, (9, 8, 3)).model
        arena, ctx = Arena(model, seed=3, device=device), Context(device=device)
        x = np.random.default_rng(0).standard_normal((4, 9, 8, 3)).astype(np.float32)
        arena.begin_step(1)
        y = model.forward(device.from_host(x), ctx)
        dx = model.backward(device.from_host(1 + device.to_host(y)), ctx)
        return [device.to_host(array).copy() for array in (y, dx, arena.gradients)]
    finally:
        pool_of(group).free()
        use_device(CPU, world)


def test_what_does_not_divide():
    model = Sequential(Flatten(), Linear(12, 2))
    with pytest.raises(UserError, match=r"the samples have the shape \(12,\): --mesh data=2 divides the samples"):
        check(model, 2, (12,))
    with pytest.raises(UserError, match="the first layer of the model is a Flatten, which needs whole images"):
        check(model, 2, (2, 2, 3))
    check(model, 1, (12,))
    check(Sequential(Conv2d(3, 2, 1)), 1000, (2, 2, 3))
    with pytest.raises(UserError, match="the first layer of the model is a PatchEmbedding"):
        check(build("vit:size=tiny", (8, 8, 3), 2), 2, (8, 8, 3))
