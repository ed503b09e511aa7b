"""``Context.later``: dx now, dw when it is asked for, and the same bits; several microbatches in flight."""

import numpy as np
import pytest

from mpitrain import layers, models
from mpitrain.context import Context
from mpitrain.layers import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    Experts,
    Flatten,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    Linear,
    MaxPool2d,
    MixtureOfExperts,
    MultiHeadAttention,
    Recompute,
    ReLU,
    Residual,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    SwiGLU,
    Tanh,
)
from mpitrain.layers.fused import Fused
from mpitrain.layers.row_norm import RowNorm
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.ops.dispatch import numpy_only
from mpitrain.parallel.pipeline.stages import OwnStages
from tests.microbatches import ORDERS, Microbatches, assert_same_bits

ROWS, TOKENS, IMAGES = (9, 6), (4, 5, 6), (5, 8, 9, 4)


def block(size=6, heads=2):
    """Attention and a perceptron, each with a normalization before it, as in GPT-2."""
    mlp = Sequential(LayerNorm(size), Linear(size, 4 * size), GELU(True), Linear(4 * size, size), Dropout(0.2))
    return Sequential(
        Residual(Sequential(LayerNorm(size), MultiHeadAttention(size, heads, causal=True))), Residual(mlp)
    )


def dropped():
    return models.prepare(Sequential(Linear(6, 5), Dropout(0.4), ReLU(), Dropout(0.3), Linear(5, 4)))


def of_codes(text, categories, num_columns=2, num_outputs=1):
    return models.build(text, (num_columns,), num_outputs, codes=models.Codes(categories=categories))


CASES = {
    "linear": (ROWS, lambda: Linear(6, 7)),
    "adapters": (
        TOKENS,
        lambda: models.add_lora(Sequential(Linear(6, 5), Linear(5, 7)), "rank=2,dropout=0.3,on=1,train=0+1.bias"),
    ),
    "linear of tokens": (TOKENS, lambda: Linear(6, 7, bias=False)),
    "transposed convolution": (IMAGES, lambda: ConvTranspose2d(4, 3, 2)),
    "u-net": (IMAGES, lambda: models.build("unet:depth=1,width=3", IMAGES[1:], 2)),
    "activations": (
        ROWS,
        lambda: Sequential(
            *(layer for f in (ReLU, Tanh, Sigmoid, SiLU, GELU) for layer in (Linear(6, 6), f())), fuse=False
        ),
    ),
    "chain": (ROWS, lambda: Sequential(Linear(6, 8), ReLU(), Linear(8, 7), GELU(), Linear(7, 5), GELU(True))),
    "chain without biases": (ROWS, lambda: Sequential(Linear(6, 8, False), ReLU(), Linear(8, 7, False))),
    "dropout": (ROWS, dropped),
    "convolution": (IMAGES, lambda: Conv2d(4, 12, 3, padding=1)),
    "winograd": (IMAGES, lambda: Sequential(Conv2d(4, 16, 3, padding=1), Conv2d(16, 16, 3, padding=1, bias=False))),
    "strided": (IMAGES, lambda: Conv2d(4, 6, 3, stride=2)),
    "dilated": (IMAGES, lambda: Conv2d(4, 6, 3, dilation=2)),
    "grouped": (IMAGES, lambda: Conv2d(4, 6, 3, groups=2, padding=1)),
    "depthwise": (IMAGES, lambda: Sequential(Conv2d(4, 4, 3, groups=4), ReLU(), Conv2d(4, 8, 1))),
    "pools": (
        IMAGES,
        lambda: Sequential(
            Conv2d(4, 5, 3, padding=1), MaxPool2d(2), ReLU(), AvgPool2d(2), Conv2d(5, 6, 1), GlobalAvgPool(), Flatten()
        ),
    ),
    "max pool": (IMAGES, lambda: Sequential(Conv2d(4, 5, 3), MaxPool2d(3, 2, 1), Conv2d(5, 2, 1))),
    "batch norm": (
        IMAGES,
        lambda: Sequential(Conv2d(4, 5, 3), BatchNorm2d(5), ReLU(), Conv2d(5, 3, 1), BatchNorm2d(3)),
    ),
    "convolutions and relus": (
        IMAGES,
        lambda: Sequential(Conv2d(4, 5, 3, padding=1), ReLU(), Conv2d(5, 6, 1), ReLU(), Conv2d(6, 3, 3, bias=False)),
    ),
    "residual of convolutions": (
        IMAGES,
        lambda: Residual(
            Sequential(Conv2d(4, 5, 1), ReLU(), Conv2d(5, 4, 1)), Sequential(Conv2d(4, 4, 1), Tanh()), ReLU()
        ),
    ),
    "residual of norms": (
        IMAGES,
        lambda: Residual(
            Sequential(Conv2d(4, 5, 1), BatchNorm2d(5), ReLU(), Conv2d(5, 4, 1), BatchNorm2d(4)),
            Sequential(Conv2d(4, 4, 1), BatchNorm2d(4)),
            ReLU(),
        ),
    ),
    "layer norm": (TOKENS, lambda: Sequential(Linear(6, 6), LayerNorm(6), Linear(6, 6), LayerNorm(6))),
    "embedding": ("ids", lambda: Sequential(Embedding(11, 6), Linear(6, 3))),
    "attention": (TOKENS, lambda: MultiHeadAttention(6, 3)),
    "attention, shared keys": (TOKENS, lambda: MultiHeadAttention(6, 3, num_kv_heads=1, rotary=10.0)),
    "root mean square norm": (TOKENS, lambda: Sequential(Linear(6, 6), RMSNorm(6), Linear(6, 6), RMSNorm(6))),
    "swiglu": (TOKENS, lambda: Sequential(RMSNorm(6), Linear(6, 8), SwiGLU(), Linear(4, 6))),
    "experts": (TOKENS, lambda: Sequential(Linear(6, 6), MixtureOfExperts(Experts(4, 6, 5, GELU(True)), 2), Tanh())),
    "experts, swiglu": (TOKENS, lambda: MixtureOfExperts(Experts(4, 6, 5, SwiGLU(), False), 1, balance="bias")),
    "block": (TOKENS, lambda: models.prepare(Sequential(block(), block()))),
    "same dy for both": (ROWS, lambda: Sequential(Linear(6, 6), Residual(Linear(6, 6)), ReLU())),
    "in place below a shortcut": (ROWS, lambda: Sequential(Linear(6, 6), Tanh(), Residual(Linear(6, 6)))),
    "body in place": (ROWS, lambda: Sequential(Linear(6, 6), Residual(Tanh()), Linear(6, 6), Residual(LayerNorm(6)))),
    "shortcut in place": (ROWS, lambda: Residual(Linear(6, 4), Sequential(Linear(6, 4), LayerNorm(4), Tanh()), ReLU())),
    "nested": (ROWS, lambda: Residual(Residual(Linear(6, 6), activation=Tanh()), Linear(6, 6), activation=ReLU())),
    "recomputed": (ROWS, lambda: Sequential(Recompute(Sequential(Linear(6, 6), ReLU(), Linear(6, 6))), Tanh())),
    "recomputed tokens": (
        "ids",
        lambda: Sequential(Recompute(Sequential(Embedding(11, 6), block())), Recompute(block())),
    ),
    "gpt": ("ids", lambda: models.build("gpt:depth=2,width=6,heads=2,dropout=0.2,end_of_text=3", (5,), 11)),
    "llama": ("ids", lambda: models.build("llama:depth=2,width=8,heads=2,kv_heads=1,hidden=5", (5,), 11)),
    "bert": ("ids", lambda: models.build("bert:depth=2,width=6,heads=2,dropout=0.2", (5,), 3, vocabulary=11)),
    "words of bert": ("ids", lambda: models.build("bert:depth=1,width=6,heads=2", (5,), 11)),
    "vit": ((4, 8, 8, 1), lambda: models.build("vit:depth=2,width=6,heads=2,dropout=0.1", (8, 8, 1), 5)),
    "convnet": ((3, 8, 8, 1), lambda: models.build("convnet", (8, 8, 1), 5)),
    "mlp": ((6, 8, 2), lambda: models.build("mlp:widths=8+9+7,activation=gelu,dropout=0.3", (8, 2), 5)),
    "lenet": ((2, 28, 28, 1), lambda: models.build("lenet", (28, 28, 1), 5)),
    "resnet8": ((3, 8, 8, 3), lambda: models.build("resnet8", (8, 8, 3), 5)),
    "googlenet": ((2, 8, 8, 3), lambda: models.build("googlenet:width=0.1,small_images=true", (8, 8, 3), 5)),
    "densenet": ((2, 8, 8, 3), lambda: models.build("densenet121:blocks=2+1,growth=3,small_images=true", (8, 8, 3), 5)),
    "factors": ("pairs", lambda: of_codes("mf:factors=3", (11, 11))),
    "factors of users": ("ids", lambda: of_codes("mf:factors=3", (11, 11), 5, 11)),
    "neural factors": ("pairs", lambda: of_codes("ncf:factors=3,widths=6+4", (11, 11))),
    "two towers": ("pairs", lambda: of_codes("two-tower:size=3,widths=5", (11, 11))),
    "a history": ("ids", lambda: of_codes("two-tower:size=3,widths=5", (11, 11), 5, 11)),
    "dlrm": ("columns", lambda: of_codes("dlrm:size=3,bottom=5,top=6,hash=7", (0, 11, 9), 3, 2)),
}


def samples(shape, seed=0):
    """Return 3 microbatches, the second without samples and the third ragged."""
    rng = np.random.default_rng(seed)
    sizes = [4, 0, 3] if isinstance(shape, str) else [shape[0], 0, 1 + shape[0] // 2]
    if shape in ("ids", "pairs"):
        return [rng.integers(0, 11, (n, 5 if shape == "ids" else 2)) for n in sizes]
    if shape == "columns":
        return [np.float32(rng.integers(0, 9, (n, 3))) for n in sizes]
    return [rng.standard_normal((n, *shape[1:])).astype(np.float32) for n in sizes]


def subclasses(cls):
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


def test_the_cases_have_all_layers():
    wanted = {c for c in subclasses(Layer) if c.__module__.startswith("mpitrain.") and not c.__name__.startswith("_")}
    elsewhere = tuple(f"mpitrain.parallel.{name}" for name in ("moves", "tensor", "expert", "context", "space"))
    wanted -= {
        c for c in wanted if c.__module__.startswith((*elsewhere, "mpitrain.head_loss"))
    }  # if other tests have imported them
    made = [make() for _, make in CASES.values()]
    found = {type(layer) for model in made for layer in model.layers()}
    found |= {type(layer) for model in made for _, layer in model.running()}
    assert wanted - {Fused, RowNorm} == found | {layers.Part, OwnStages}, "these: test_parts.py, test_pipeline.py"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", CASES)
def test_same_bits_in_any_order(name, order):
    shape, make = CASES[name]
    run = Microbatches(lambda: [make()], samples(shape))
    expected = run.run()
    assert_same_bits(run.run(order), expected, f"{name}, {order}")
    assert np.any(expected["gradients"] != 0)


@pytest.mark.parametrize("name", ["chain", "winograd", "embedding", "block", "resnet8", "recomputed tokens"])
def test_same_bits_by_numpy(name):
    shape, make = CASES[name]
    run = Microbatches(lambda: [make()], samples(shape))
    with numpy_only():
        expected = run.run()
        for order in ("dw late", "in flight"):
            assert_same_bits(run.run(order), expected, order)


@pytest.mark.parametrize("name", ["block", "resnet8"])
def test_contexts_are_used_again(name):
    """Microbatch 2 goes through the context of microbatch 0."""
    shape, make = CASES[name]
    run = Microbatches(lambda: [make()], samples(shape))
    assert_same_bits(run.run("F0 F1 B0 B1 W0 F2 W1 B2 W2", slots=2), run.run())


@pytest.mark.parametrize("name", ["block", "resnet8", "recomputed", "recomputed tokens"])
def test_gradients_can_always_be_put_off(name):
    """With the list in place before forward, too."""
    shape, make = CASES[name]
    run = Microbatches(lambda: [make()], samples(shape))
    expected = run.run(steps=1)
    run.arena.states[...] = run.first_states
    run.arena.begin_step(3)
    ctx, found = run.context(), {}
    for m in range(3):
        ctx.later, ctx.first = [], sum(map(len, run.xs[:m]))
        found["y", m] = run.forward(run.xs[m], ctx).copy()
        found["dx", m] = run.backward(run.dy(found["y", m], 0), ctx).copy()
        for write in ctx.later:
            write()
    found["gradients"], found["states"] = run.arena.gradients, run.arena.states
    assert_same_bits(found, expected)


@pytest.mark.parametrize(
    ("name", "put_off"),
    [
        ("linear", {"weight", "bias"}),
        ("convolution", {"weight", "bias"}),
        ("depthwise", {"0.weight", "2.weight", "2.bias"}),
        ("embedding", {"0.weight", "1.weight", "1.bias"}),
        ("attention", {"qkv.weight", "qkv.bias", "out.weight", "out.bias"}),
        ("convolutions and relus", {"0.weight", "2.weight", "4.weight"}),
        ("chain", {"0.weight", "2.weight", "4.weight", "4.bias"}),  # biases below are sums in the pass that writes dx
        ("layer norm", {"0.weight", "0.bias", "2.weight", "2.bias"}),
        ("batch norm", {"0.weight", "0.bias", "3.weight", "3.bias"}),
        ("recomputed", {f"0.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")} - {"0.0.bias"}),
    ],
)
def test_what_is_put_off(name, put_off):
    """Backward alone does not write these gradients, and the list writes each of them."""
    shape, make = CASES[name]
    run = Microbatches(lambda: [make()], samples(shape)[:1])
    ctx = run.context()
    run.arena.begin_step()
    run.arena.gradients.fill(7)
    y = run.layers[0].forward(run.xs[0], ctx)
    ctx.later = []
    run.layers[0].backward(np.ones_like(y), ctx)
    untouched = {p.name for p in run.arena.parameters if np.all(p.grad == 7)}
    assert untouched == put_off
    assert {p.name for p in run.arena.parameters if not p._writes} == put_off
    for write in ctx.later:
        write()
    assert all(p._writes == 1 and not np.any(p.grad == 7) for p in run.arena.parameters)


def test_parameters_are_ready_when_they_are_written():
    run = Microbatches(lambda: [Sequential(Linear(6, 5), Tanh(), Linear(5, 4))], samples(ROWS)[:1])
    ready = []
    run.arena.begin_step()
    run.arena.on_ready = lambda p: ready.append(p.name)
    ctx = run.context()
    y = run.layers[0].forward(run.xs[0], ctx)
    ctx.later = []
    run.layers[0].backward(y, ctx)
    assert ready == []
    for write in ctx.later:
        write()
    assert ready == ["2.weight", "2.bias", "0.weight", "0.bias"]


def test_the_gradient_of_a_loss_stays_too():
    """The list holds the array that the loss has returned."""
    model, loss, xs = Sequential(Linear(6, 5)), SoftmaxCrossEntropy(), samples(ROWS)
    run = Microbatches(lambda: [model], xs)
    targets = [np.arange(len(x)) % 5 for x in xs]
    contexts = [run.context() for _ in xs]
    run.arena.begin_step(3)
    for x, t, ctx in zip(xs, targets, contexts):
        loss.forward(model.forward(x, ctx), t, ctx)
    for ctx in contexts:
        ctx.later = []
        model.backward(loss.backward(ctx), ctx)
    for ctx in contexts:
        for write in ctx.later:
            write()
    found = run.arena.gradients.copy()
    run.arena.begin_step(3)
    for x, t in zip(xs, targets):
        loss.forward(model.forward(x, contexts[0]), t, contexts[0])
        contexts[0].later = None
        model.backward(loss.backward(contexts[0]), contexts[0])
    assert_same_bits({"gradients": found}, {"gradients": run.arena.gradients})


def test_a_layer_that_puts_nothing_off_is_right_too():
    """The layer of docs/extending.md: its gradient is written in backward, and dx over dy."""

    class Scale(Layer):
        def __init__(self, size):
            self.scale = layers.LayerNorm(size).weight

        def forward(self, x, ctx):
            ctx[self] = x
            return np.multiply(x, self.scale.data, out=ctx.empty(self, "y", x.shape))

        def backward(self, dy, ctx):
            gradient = (dy * ctx[self]).sum(0)
            self.scale.grad[...] = gradient + (self.scale.grad if self.scale.accumulate else 0)
            self.scale.written()
            return np.multiply(dy, self.scale.data, out=dy)

    run = Microbatches(lambda: [Sequential(Linear(6, 6), Scale(6), Linear(6, 6), Scale(6))], samples(ROWS))
    expected = run.run()
    for order in ORDERS:
        assert_same_bits(run.run(order), expected, order)


def test_memory_of_backward_is_shared():
    """Every further microbatch in flight costs what forward keeps."""
    run = Microbatches(lambda: [models.build("resnet8", (8, 8, 3), 5)], [samples((4, 8, 8, 3))[0]] * 3)
    run.run()
    own = run.contexts[0].num_bytes
    run.run("F0 F1 F2 B0 B1 B2")
    kept, first = run.contexts[1].num_bytes, run.contexts[0].num_bytes
    assert first == own
    assert 0 < kept < 0.6 * own
    assert run.contexts[2].num_bytes == kept


def test_memory_of_what_is_put_off_is_used_again():
    """There are as many copies of it as microbatches between B and W, plus the common one if it was used."""
    xs = [samples(ROWS)[0]] * 3
    bytes_of = {}
    for order in ("F0 F1 F2 B0 B1 B2", "F0 B0 W0 F1 B1 W1 F2 B2 W2", "F0 F1 F2 B0 B1 B2 W0 W1 W2"):
        run = Microbatches(lambda: [Sequential(Linear(6, 6), Tanh(), Linear(6, 6))], xs)
        run.run(order)
        bytes_of[order] = sum(ctx.num_bytes for ctx in run.contexts)
    forward = sum(ctx.num_bytes - ctx._pool.num_bytes * (ctx is run.contexts[0]) for ctx in run.contexts)
    plain, one, three = (count - forward for count in bytes_of.values())
    assert one == plain
    assert three == 3 * plain


def test_the_list_can_be_replaced_and_returned():
    ctx, owner = Context(), object()
    common = ctx.backward.empty(owner, "dx", (5,))
    ctx.later = []
    own = ctx.backward.empty(owner, "dx", (5,))
    ctx.later = []
    assert ctx.backward.empty(owner, "dx", (5,)) is own
    other = Context(share=ctx)
    assert other.backward.empty(owner, "dx", (5,)) is common
    other.later = []
    assert not np.shares_memory(other.backward.empty(owner, "dx", (5,)), own)
    ctx.later = None
    assert ctx.later is None
    assert ctx.backward.empty(owner, "dx", (5,)) is common
    third = Context(share=other)
    third.later = []
    assert third.backward.empty(owner, "dx", (5,)) is own, "what a microbatch has returned"
