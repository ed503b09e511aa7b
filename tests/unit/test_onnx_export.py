"""ONNX files of every model: outputs of onnxruntime are those of the network here."""

import dataclasses
import json

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import PAD, Context
from mpitrain.data.matching.signature import Signature
from mpitrain.data.normalize import Normalizer
from mpitrain.errors import UserError
from mpitrain.layers import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    Linear,
    MaxPool2d,
    Recompute,
    ReLU,
    Residual,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    SkipConcat,
    SwiGLU,
    Tanh,
)
from mpitrain.training.onnx_export.write import make_onnx, write_onnx

ort = pytest.importorskip("onnxruntime")
SMALL = {  # texts that make registered models small; others are as they are, for images of 8 x 8
    "alexnet": "alexnet:width=0.05,hidden=12,small_images=true",
    "vgg": "vgg:convolutions=1+1,channels=4+6,hidden=8,batch_norm=true",
    **{f"vgg{depth}": f"vgg{depth}:hidden=8,channels=2+3+4+4+4" for depth in (11, 13, 16, 19)},
    "googlenet": "googlenet:width=0.05",
    "inception_v3": "inception_v3:width=0.04,small_images=true",
    "mobilenet_v1": "mobilenet_v1:width=0.1",
    **{f"densenet{depth}": f"densenet{depth}:growth=2" for depth in (121, 161, 169, 201)},
    "densenet": "densenet:blocks=2+3,growth=3",
    **{f"resnet{depth}": f"resnet{depth}:widths=4+4+8+8,stem=4" for depth in (18, 34, 50, 101, 152)},
    "resnet": "resnet:blocks=1+1,widths=8+8,stem=4",
    "unet": "unet:width=4",
    "gpt": "gpt:depth=2,width=16,heads=2",
    "llama": "llama:depth=2,width=16,heads=4,kv_heads=2,hidden=24",
    "bert": "bert:depth=2,width=16,heads=2",
    "vit": "vit:depth=2,width=16,heads=2,patch=4",
    "dlrm": "dlrm:size=3,bottom=5,top=6,hash=6",
    "ncf": "ncf:factors=3,widths=8+4",
}
SHAPES = {"alexnet": (16, 17, 2), "inception_v3": (9, 8, 2), **{f"vgg{n}": (32, 33, 2) for n in (11, 13, 16, 19)}}
SHAPES |= {name: (33, 30, 2) for name in models.names() if name.startswith(("densenet", "googlenet"))}
SHAPES |= {"lenet": (14, 13, 1), "unet": (13, 9, 2)}
TOKENS = ("gpt", "llama", "bert")
CODES = {"dlrm": (0, 5, 7, 0), "mf": (3, 4), "ncf": (3, 4), "two-tower": (3, 4)}
TOLERANCE = 2e-5


def random_states(model, seed=0):
    """Give a model memory, with random running statistics and biases."""
    arena, rng = Arena(model, seed=seed), np.random.default_rng(seed)
    for p in arena.parameters:
        p.data += 0.05 * rng.standard_normal(p.shape).astype(np.float32)
    arena.states[...] = rng.uniform(0.5, 1.5, arena.states.shape)
    return arena


def signature_of(shape, outputs, **more):
    return Signature("classification", shape, outputs, dtype="float32", **more)


def run(file, x):
    """Return the outputs of a file by name, and those for two batches of other sizes."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # more would spin, and wait for cores that others use
    session = ort.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"input": x}), strict=True))
    for part in (x[:1], x[:0]):
        for name, array in zip(names, session.run(names, {"input": part}), strict=True):
            assert array.shape == (len(part), *found[name].shape[1:])
    return found


def assert_same(model, x, signature, normalizer=None):
    """Compare logits and probabilities."""
    random_states(model)
    normalized = x if normalizer is None else normalizer(x)
    expected = model.forward(normalized, Context(training=False)).copy()
    found = run(make_onnx(model, signature, normalizer, None), x)
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found["logits"], expected, rtol=TOLERANCE, atol=TOLERANCE * scale)
    np.testing.assert_allclose(found["probabilities"].sum(axis=-1), 1, rtol=1e-5)


def samples_of(name, rng, n=3):
    """Return (x, shape of a sample, codes) for a registered model."""
    if name in TOKENS:
        codes = models.Codes(vocabulary=17)
        return rng.integers(0, 17, (n, 9)), (9,), codes
    if name in CODES:
        sizes = CODES[name]
        x = np.stack([rng.integers(0, size, n) if size else rng.standard_normal(n) for size in sizes], axis=1)
        return x.astype(np.float32 if 0 in sizes else np.int64), (len(sizes),), models.Codes(categories=sizes)
    shape = SHAPES.get(name, (8, 9, 1) if name != "vit" else (8, 8, 2))
    return rng.standard_normal((n, *shape)).astype(np.float32), shape, None


@pytest.mark.parametrize("name", models.names())
def test_every_model(name):
    rng = np.random.default_rng(1)
    x, shape, codes = samples_of(name, rng)
    outputs = 17 if name in TOKENS else 2
    model = models.build(SMALL.get(name, name), shape, outputs, codes=codes)
    more = {"vocabulary": 17} if name in TOKENS else {}
    assert_same(model, x, signature_of(shape, outputs, **more))


LAYERS = {  # those that no model above has, or with other options
    "strides and dilation": lambda: Sequential(Conv2d(2, 4, (3, 2), (2, 1), (1, 0), (1, 2)), Conv2d(4, 6, 3, groups=2)),
    "transposed": lambda: Sequential(ConvTranspose2d(2, 3, 3, 2, 1), ConvTranspose2d(3, 2, (2, 3), bias=False)),
    "pools": lambda: Sequential(MaxPool2d(3, 2, 1), AvgPool2d(2, 1, 1), MaxPool2d(2, 2, ceil_mode=True)),
    "mean without padding": lambda: Sequential(AvgPool2d(3, 2, 1, count_include_pad=False)),
    "activations": lambda: Sequential(Sigmoid(), SiLU(), GELU(), GELU(approximate=True), Tanh(), ReLU()),
    "norms of pixels": lambda: Sequential(Conv2d(2, 4, 1), LayerNorm(4), RMSNorm(4, 1e-3), SwiGLU(), BatchNorm2d(2)),
    "dense pixels": lambda: Sequential(Conv2d(2, 4, 3), Linear(4, 3), ReLU(), Conv2d(3, 2, 1)),
    "a skip beyond the image": lambda: SkipConcat(Sequential(ConvTranspose2d(2, 3, 2), ReLU())),
    "a skip within the image": lambda: SkipConcat(Sequential(MaxPool2d(3, 3), Conv2d(2, 3, 1))),
    "shortcuts": lambda: Residual(Linear(2, 3), Sequential(Conv2d(2, 3, 1), Tanh()), SiLU()),
    "recomputed": lambda: Recompute(Sequential(Conv2d(2, 3, 3), GlobalAvgPool())),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    x = np.random.default_rng(2).standard_normal((2, 8, 7, 2)).astype(np.float32)
    assert_same(LAYERS[name](), x, signature_of((8, 7, 2), 2))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_samples_are_normalized(dtype):
    """Also a column of large numbers that differ little, as those of times are."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (5, 6, 5, 3)) if dtype == "uint8" else 100 + 0.1 * rng.standard_normal((5, 6, 5, 3))
    if dtype == "float64":
        x[..., 1] += 1.7e9
    x = x.astype(dtype)
    model = models.build("convnet", x.shape[1:], 4)
    assert_same(model, x, dataclasses.replace(signature_of(x.shape[1:], 4), dtype=dtype), Normalizer.fit(x))


def test_regression_is_in_the_units_of_the_targets():
    x = np.random.default_rng(4).standard_normal((6, 3)).astype(np.float32)
    model, targets = models.build("mlp:widths=5", (3,), 2), Normalizer([1.7e9, -2.0], [10.0, 0.5])
    random_states(model)
    signature = Signature("regression", (3,), 2, dtype="float32", target_name="a,b", feature_names=("p", "q", "r"))
    file = make_onnx(model, signature, Normalizer.fit(x), targets)
    expected = targets.inverse(model.forward(Normalizer.fit(x)(x), Context(training=False)))
    found = run(file, x)
    np.testing.assert_allclose(
        (found["prediction"] - targets.mean) / targets.std, (expected - targets.mean) / targets.std, atol=2e-5
    )
    facts = {each.key: each.value for each in file.metadata_props}
    assert (facts["task"], json.loads(facts["feature_names"]), facts["target_name"]) == (
        "regression",
        ["p", "q", "r"],
        "a,b",
    )


@pytest.mark.parametrize("text", ["gpt:end_of_text=3", "llama:end_of_text=3", "bert"])
def test_rows_of_tokens(text):
    """Rows packed with several texts, shorter rows, and rows with padding, one of which has no token."""
    name, _, option = text.partition(":")
    rng = np.random.default_rng(5)
    x = rng.integers(0, 9, (4, 11))
    if name == "bert":
        x[0, 7:] = PAD
        x[1, 1:] = PAD
        x[2] = PAD
    option = f",{option}" if "end" in option else ""
    model = models.build(f"{SMALL[name]}{option}", (11,), 9, codes=models.Codes(vocabulary=9))
    signature = Signature("language-modeling", (11,), 9, vocabulary=9)
    random_states(model)
    file = make_onnx(model, signature, None, None)
    for tokens in (x, x[:, :5]):
        expected = model.forward(tokens, Context(training=False))
        found = run(file, tokens)
        assert list(found) == ["logits"]
        np.testing.assert_allclose(found["logits"], expected, atol=5e-5 * np.abs(expected).max())


def test_opset_is_read_by_older_runtimes():
    file = make_onnx(random_model(), signature_of((3,), 2, class_names=("no", "yes")), None, None)
    assert (file.opset_import[0].version, file.ir_version, len(file.opset_import)) == (17, 8, 1)
    assert {"1.weight", "3.bias"} < {each.name for each in file.graph.initializer}
    assert json.loads(next(each.value for each in file.metadata_props if each.key == "class_names")) == ["no", "yes"]


def random_model():
    model = models.build("mlp:widths=4", (3,), 2)
    random_states(model)
    return model


class Own(ReLU):
    """A layer of a user's, with a forward of its own."""

    def forward(self, x, ctx):
        return -x


class Unlike(Layer):
    """A layer of a user's."""

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        return dy


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Sequential(Linear(3, 3), Own()), "layer 1, Own cannot be exported to ONNX"),
        (lambda: Residual(Sequential(Unlike())), r"layer body\.0, Unlike cannot be exported to ONNX"),
        (Unlike, "a layer Unlike cannot be exported to ONNX: there are no operators for it"),
    ],
)
def test_layers_without_operators_are_named(model, message):
    made = model()
    Arena(made)
    with pytest.raises(UserError, match=message):
        make_onnx(made, signature_of((3,), 3), None, None)


def test_experts_are_refused():
    model = models.build("gpt:depth=1,width=8,heads=2,experts=4", (5,), 9, codes=models.Codes(vocabulary=9))
    Arena(model)
    with pytest.raises(UserError, match=r"layer 1\.mlp, MixtureOfExperts cannot be exported to ONNX"):
        make_onnx(model, Signature("language-modeling", (5,), 9, vocabulary=9), None, None)


def test_what_no_file_holds():
    with pytest.raises(UserError, match=r"an ONNX file holds less than 2 GiB, and the model has 3\.\d+ GiB"):
        make_onnx(models.build("mlp:widths=30000+30000", (8,), 2), signature_of((8,), 2), None, None)


def test_files_are_whole_or_absent(tmp_path):
    file = make_onnx(random_model(), signature_of((3,), 2), None, None)
    path = tmp_path / "model.onnx"
    write_onnx(file, path)
    assert ort.InferenceSession(path).run(None, {"input": np.zeros((2, 3), np.float32)})[0].shape == (2, 2)
    with pytest.raises(UserError, match="exists already: write over it with --force"):
        write_onnx(file, path)
    write_onnx(file, path, force=True)
    with pytest.raises(UserError, match="no such directory"):
        write_onnx(file, tmp_path / "none" / "model.onnx")
    with pytest.raises(UserError, match="it is a directory"):
        write_onnx(file, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]
