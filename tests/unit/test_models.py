import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import BatchNorm2d, Conv2d, Dropout, Layer, Linear
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.model_table import ModelTable
from mpitrain.optim import SGD
from tests import resnet_formulas
from tests.gradients import check_layer

SHAPES = {
    "convnet": [(8, 8, 1), (9, 11, 3), (2, 2, 1)],
    "mlp": [(10,), (8, 8, 1), (3, 4, 2)],
    "lenet": [(28, 28, 1), (32, 32, 3), (12, 13, 1)],
    "audio-convnet:channels=4+6,width=5,dropout=0.1": [(30, 17, 1), (4, 4, 1)],
    "resnet8": [(8, 8, 1), (32, 32, 3), (5, 4, 2)],
    "resnet:blocks=1+2,widths=8+12,bottleneck=false,stem=4": [(9, 8, 1), (33, 40, 3), (1, 2, 1)],
    "resnet:blocks=2+1,widths=16+8,stem=4": [(9, 8, 1), (33, 40, 3), (1, 2, 1)],
}
RESNETS = {  # each with every option once
    "basic": {"blocks": (1, 2), "widths": (6, 8), "bottleneck": False, "stem": 4},
    "bottleneck": {"blocks": (2, 1), "widths": (8, 12), "stem": 4},
    "early": {"blocks": (1, 1), "widths": (8, 12), "stem": 8, "halve_first": True, "stride_in_1x1": True},
    "small": {"blocks": (1, 1), "widths": (4, 6), "bottleneck": False, "stem": 4, "small_images": True},
}


def bind(model, **options):
    return Arena(model.named_parameters(), model.named_states(), **options)


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name, shapes in SHAPES.items() for shape in shapes])
@pytest.mark.parametrize("num_samples", [0, 3])
def test_forward_and_backward(name, shape, num_samples):
    model = models.build(name, shape, 5)
    arena = bind(model)
    ctx = Context()
    arena.begin_step()
    y = model.forward(np.ones((num_samples, *shape), np.float32), ctx)
    assert y.shape == (num_samples, 5)
    assert model.backward(np.ones_like(y), ctx).size == 0
    assert np.isfinite(arena.gradients).all()
    assert all(p._writes == p.uses for p in arena.parameters)


@pytest.mark.parametrize("name", ["convnet", "mlp", "resnet8", "audio-convnet"])
def test_gradients(name):
    shape = (4, 4, 1) if name != "audio-convnet" else (11, 6, 1)
    audio = {"channels": (3, 4), "width": 5}
    options = {
        "resnet8": {},
        "audio-convnet": audio,
        "mlp": {"widths": (6, 5), "activation": "tanh", "dropout": 0.3},
        "convnet": {},
    }[name]
    model = models.build(name, shape, 3, **options)
    check_layer(model, np.random.default_rng(0).standard_normal((3, *shape)), places=6, tolerance=1e-5)


@pytest.mark.parametrize("name", RESNETS)
def test_gradients_of_resnets(name):
    """Also where strides divide odd sizes."""
    shape = (5, 5, 2) if name == "small" else (17, 13, 2)
    model = models.build("resnet", shape, 3, **RESNETS[name])
    check_layer(model, np.random.default_rng(0).standard_normal((3, *shape)), places=6, tolerance=1e-5)


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_by_formulas(name):
    options, shape = RESNETS[name], (5, 6, 2) if name == "small" else (17, 22, 2)
    model = models.build("resnet", shape, 3, **options)
    arena, rng = bind(model, dtype=np.float64), np.random.default_rng(1)
    arena.states += rng.random(arena.states.shape)
    x = rng.standard_normal((2, *shape))
    found = model.forward(x, Context(dtype=np.float64, training=False))
    kinds = {"bottleneck": options.get("bottleneck", True), "early": name == "early", "small": name == "small"}
    for image, logits in zip(x, found, strict=True):
        expected = resnet_formulas.resnet(arena.named_tensors(), image, options["blocks"], **kinds)
        np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_resnets_have_the_published_numbers_of_parameters(name, published):
    """The numbers of torchvision's networks for ImageNet; needs no memory for them."""
    model = models.build(name, (224, 224, 3), 1000)
    assert sum(entry.size for entry in ModelTable.of(model).parameters) == published


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("mlp", (784,), 784 * 128 + 128 + 128 * 10 + 10),
        ("lenet", (28, 28, 1), 61_706),
        ("convnet", (8, 8, 1), 38_282),
        ("audio-convnet", (98, 40, 1), 65_914),
        ("resnet8", (32, 32, 3), 78_042),
        ("resnet20", (32, 32, 3), 272_474),
        ("resnet32", (32, 32, 3), 466_906),
        ("resnet56", (32, 32, 3), 855_770),
    ],
)
def test_number_of_parameters(name, shape, count):
    assert bind(models.build(name, shape, 10)).num_parameters == count


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet8"])
def test_a_few_steps_learn_a_small_set(name):
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((16, 8, 8, 1)).astype(np.float32), rng.integers(0, 4, 16)
    model, loss, ctx = models.build(name, (8, 8, 1), 4), SoftmaxCrossEntropy(), Context()
    arena = bind(model)
    optimizer = SGD(arena, momentum=0.9)
    losses = []
    for _ in range(30):
        arena.begin_step()
        losses.append(loss.forward(model.forward(x, ctx), targets, ctx).loss / 16)
        model.backward(loss.backward(ctx), ctx)
        optimizer.step(0.05, 1 / 16)
    assert losses[-1] < 0.2 < 1 < losses[0]


def test_resnet_starts_as_its_shortcuts_with_zero_init():
    model = models.build("resnet8", (8, 8, 1), 4, zero_init=True)
    bind(model)
    assert [np.all(block.body[-1].weight.data == 0) for block in model[3:6]] == [True] * 3
    assert [block.shortcut is None for block in model[3:6]] == [True, False, False]
    model = models.build("resnet", (8, 8, 1), 4, zero_init=True, **RESNETS["bottleneck"])
    bind(model)
    assert [np.all(block.body[-1].weight.data == 0) for block in model[4:7]] == [True] * 3


def test_wide_resnet():
    model = models.build("resnet8", (8, 8, 1), 4, width=2)
    assert [layer.num_channels for layer in model.layers() if isinstance(layer, BatchNorm2d)][-1] == 128


def test_only_the_first_layer_skips_dx():
    for name, shapes in SHAPES.items():
        model = models.build(name, shapes[0], 5)
        learned = [layer for layer in model.layers() if isinstance(layer, (Conv2d, Linear))]
        assert [layer.needs_dx for layer in learned] == [False] + [True] * (len(learned) - 1)


def test_dropouts_are_numbered():
    model = models.build("mlp", (4,), 2, widths=(3, 3, 3), dropout=0.5)
    assert [layer.number for layer in model.layers() if isinstance(layer, Dropout)] == [0, 1, 2]


def test_a_linear_model_has_no_hidden_layers():
    assert bind(models.build("mlp", (4,), 2, widths=())).num_parameters == 10


def test_names():
    assert models.names()[0] == "convnet"
    of_tokens, pairs = ("gpt", "llama", "bert"), models.Codes(categories=(3, 4))
    of_columns = {"dlrm": models.Codes(categories=(0, 5, 7)), "mf": pairs, "ncf": pairs, "two-tower": pairs}
    for name in models.names():
        codes = of_columns.get(name)
        shape = (len(codes.categories),) if codes else (16,) if name in of_tokens else (80, 80, 1)
        assert isinstance(models.build(name, shape, 2, codes=codes), Layer)
