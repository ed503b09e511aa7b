"""Image networks of the literature: published numbers of parameters and products, gradients, and bad inputs."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.model_table import ModelTable
from mpitrain.models.outline import describe
from mpitrain.optim import SGD
from tests.gradients import check_layer

IMAGENET, CIFAR = (224, 224, 3), (32, 32, 3)
PUBLISHED = {  # parameters and billions of products for 1000 classes, of torchvision's weights but for mobilenet_v1
    "alexnet": (61_100_840, 0.714),
    "vgg11": (132_863_336, 7.609),
    "vgg13": (133_047_848, 11.308),
    "vgg16": (138_357_544, 15.470),
    "vgg19": (143_667_240, 19.632),
    "vgg11:batch_norm=true": (132_868_840, 7.609),
    "vgg16:batch_norm=true": (138_365_992, 15.470),
    "googlenet": (6_624_904, 1.498),
    "mobilenet_v1": (4_231_976, 0.569),  # table 8 of the paper, and Keras
    "densenet121": (7_978_856, 2.834),
    "densenet169": (14_149_480, 3.360),
    "densenet201": (20_013_928, 4.291),
    "densenet161": (28_681_000, 7.728),
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
}
COUNTS = {  # model, shape of a sample: parameters for 1000 classes, or for the 10 of CIFAR
    ("inception_v3", (299, 299, 3)): 23_834_568,
    ("googlenet:branch_kernel=5,batch_norm=false", IMAGENET): 6_998_552,  # of Caffe, without auxiliary classifiers
    ("mobilenet_v1:width=0.75", IMAGENET): 2_585_560,  # of Keras, its trained ones
    ("mobilenet_v1:width=0.5", IMAGENET): 1_331_592,
    ("mobilenet_v1:width=0.25", IMAGENET): 470_072,
    ("vgg11:batch_norm=true,small_images=true", CIFAR): 9_231_114,  # of pytorch-cifar from here on
    ("vgg16:batch_norm=true,small_images=true", CIFAR): 14_728_266,
    ("mobilenet_v1:small_images=true", CIFAR): 3_217_226,
    ("resnet18:small_images=true", CIFAR): 11_173_962,
    ("resnet50:small_images=true", CIFAR): 23_520_842,
    ("densenet:blocks=16+16+16,growth=12,small_images=true", CIFAR): 769_162,  # of the authors: 0.8 million
    ("resnet44", CIFAR): 661_338,
    ("resnet110", CIFAR): 1_730_714,
}
NARROW = {  # small networks of each family, and the shapes of samples
    "alexnet:width=0.05,hidden=12,dropout=0": [(63, 67, 1), (80, 63, 3)],
    "alexnet:width=0.05,hidden=12,small_images=true": [(15, 15, 1), (16, 19, 3)],
    "vgg:convolutions=1+2,channels=4+6,hidden=8,dropout=0.2": [(4, 5, 1), (9, 8, 3)],
    "vgg:convolutions=1+2,channels=4+6,batch_norm=true,small_images=true": [(4, 5, 1), (9, 8, 3)],
    "googlenet:width=0.04": [(15, 15, 1), (37, 24, 3)],
    "googlenet:width=0.04,branch_kernel=5,batch_norm=false,small_images=true": [(2, 2, 1), (9, 12, 3)],
    "inception_v3:width=0.02": [(75, 76, 1)],
    "inception_v3:width=0.02,small_images=true": [(7, 7, 1), (12, 9, 3)],
    "mobilenet_v1:width=0.05": [(1, 1, 1), (33, 18, 3)],
    "mobilenet_v1:width=0.05,small_images=true": [(8, 9, 3)],
    "densenet:blocks=2+3,growth=3": [(5, 5, 1), (19, 14, 3)],
    "densenet:blocks=2+2+1,growth=2,small_images=true,dropout=0.2,compression=0.7": [(4, 4, 1), (9, 6, 3)],
}


def count(text, shape, outputs):
    """Return the number of parameters of a model, which needs no memory for them."""
    return sum(entry.size for entry in ModelTable.of(models.build(text, shape, outputs)).parameters)


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_numbers(text):
    model = models.build(text, IMAGENET, 1000)
    parameters, billions = PUBLISHED[text]
    assert sum(entry.size for entry in ModelTable.of(model).parameters) == parameters
    products = sum(product.flops / 2 for unit in describe(model, IMAGENET).units for product in unit.products)
    assert products / 1e9 == pytest.approx(billions, abs=6e-4)


def test_products_of_inception_v3():
    model = models.build("inception_v3", (299, 299, 3), 1000)
    units = describe(model, (299, 299, 3)).units
    assert sum(product.flops / 2 for unit in units for product in unit.products) / 1e9 == pytest.approx(5.713, abs=6e-4)


@pytest.mark.parametrize(("text", "shape"), COUNTS)
def test_number_of_parameters(text, shape):
    assert count(text, shape, 10 if shape == CIFAR else 1000) == COUNTS[text, shape]


@pytest.mark.parametrize(("text", "shape"), [(text, shape) for text, shapes in NARROW.items() for shape in shapes])
@pytest.mark.parametrize("num_samples", [0, 2])
def test_forward_and_backward(text, shape, num_samples):
    model = models.build(text, shape, 5)
    arena, ctx = Arena(model), Context()
    arena.begin_step()
    y = model.forward(np.ones((num_samples, *shape), np.float32), ctx)
    assert y.shape == (num_samples, 5)
    assert model.backward(np.ones_like(y), ctx).size == 0
    assert np.isfinite(arena.gradients).all()
    assert all(p._writes == p.uses for p in arena.parameters)
    planned = describe(model, shape)
    assert planned.parameters == arena.num_parameters
    assert planned.units[-1].output == 5


SMALLEST = {  # one of each family, for central differences: seconds are too many
    "alexnet:width=0.02,hidden=3,small_images=true,dropout=0": (15, 15, 1),
    "vgg:convolutions=1+1,channels=2+3,hidden=4,batch_norm=true": (4, 5, 2),
    "googlenet:width=0.01,small_images=true": (5, 4, 2),
    "inception_v3:width=0.004,small_images=true": (7, 8, 1),
    "mobilenet_v1:width=0.04,small_images=true": (17, 16, 1),
    "densenet:blocks=2+2,growth=2": (9, 8, 2),
}


@pytest.mark.parametrize("text", SMALLEST)
def test_gradients(text):
    shape = SMALLEST[text]
    model = models.build(text, shape, 3)
    places = 1 if "inception" in text else 2  # it has 288 parameters
    check_layer(model, np.random.default_rng(0).standard_normal((3, *shape)), places=places, tolerance=1e-5)


LEARNING = {  # models and learning rates
    "alexnet:width=0.1,hidden=32,small_images=true,dropout=0": 0.005,
    "vgg:convolutions=1+1,channels=8+16,hidden=32,dropout=0": 0.02,
    "googlenet:width=0.06,small_images=true,dropout=0": 0.02,
    "inception_v3:width=0.03,small_images=true,dropout=0": 0.03,
    "mobilenet_v1:width=0.1,small_images=true": 0.05,
    "densenet:blocks=2+2,growth=6,small_images=true": 0.2,
}


@pytest.mark.parametrize("text", LEARNING)
def test_a_few_steps_learn_a_small_set(text):
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((16, 16, 16, 1)).astype(np.float32), rng.integers(0, 4, 16)
    model, loss, ctx = models.build(text, x.shape[1:], 4), SoftmaxCrossEntropy(), Context()
    arena = Arena(model)
    optimizer, losses = SGD(arena, momentum=0.9), []
    for _ in range(40):
        arena.begin_step()
        losses.append(loss.forward(model.forward(x, ctx), targets, ctx).loss / 16)
        model.backward(loss.backward(ctx), ctx)
        optimizer.step(LEARNING[text], 1 / 16)
    assert min(losses[20:]) < 0.5 < 1 < losses[0], losses  # rounding, as by other numbers of threads, changes the last


@pytest.mark.parametrize("text", ["alexnet", "googlenet", "inception_v3", "densenet121"])
def test_small_images_are_told_of(text):
    family = text.rstrip("0123456789") if text.startswith("dense") else text
    side = 14 if text == "googlenet" else 16
    with pytest.raises(UserError, match=f"but these are {side}x20: {family}:small_images=true takes them"):
        models.build(text, (side, 20, 3), 10)
    models.build(f"{text}:small_images=true", (16, 20, 3), 10)
    with pytest.raises(UserError, match=r"needs images of at least .*, but these are 1x1$"):
        models.build(text, (1, 1, 3), 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vgg:convolutions=1+2", "one of each for every stage"),
        ("vgg:convolutions=0+1,channels=2+2", "of at least 1"),
        ("vgg16", "the model vgg needs images of at least 32x32, but these are 20x20"),
        ("densenet:blocks=2+0", "densenet needs blocks of at least one layer"),
        ("densenet:compression=0", r"a compression in \(0, 1\]"),
        ("mobilenet_v1:width=0", "the width of mobilenet_v1 multiplies its channels"),
        ("googlenet:width=nan", "must lie between 0 and 100, not nan"),
        ("inception_v3:small_images=true,dropout=1", "the probability of dropout must lie in"),
    ],
)
def test_bad_options(text, message):
    with pytest.raises(UserError, match=message):
        models.build(text, (20, 20, 3), 10)
