"""Models divided by axis tensor: outputs, loss, dx and gradients of the whole model, in float64."""

import numpy as np
import pytest

from mpitrain import head_loss, models
from mpitrain.arena import Arena
from mpitrain.comm.schedule.staging import HOST, HostStaging
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.errors import UserError
from mpitrain.head_loss import split_head
from mpitrain.layers import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    Linear,
    MaxPool2d,
    Recompute,
    ReLU,
    Residual,
    Sequential,
    SwiGLU,
    Tanh,
    init,
)
from mpitrain.lora_options import LoRAOptions
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.model_table import ModelTable
from mpitrain.parallel.tensor.head import DividedHeadLoss
from mpitrain.parallel.tensor.rules import check, divide

pytestmark = pytest.mark.mpi

SAMPLES, TOKENS, VOCABULARY = 3, 5, 23

NETWORKS = {  # of numbers: model, shape of a sample
    "mlp": ("mlp:widths=13+9+11,dropout=0.3,activation=gelu", (7,)),
    "lenet": ("lenet", (12, 12, 1)),
    "convnet": ("convnet:channels=6+9,width=11", (4, 4, 2)),
    "resnet8": ("resnet8", (4, 4, 3)),
    "bottlenecks": ("resnet:blocks=1+1,widths=28+40,stem=5,small_images=true", (4, 4, 3)),
    "dense blocks": ("densenet:blocks=2+2,growth=3,small_images=true,dropout=0.2", (4, 4, 3)),
    "vit": ("vit:size=tiny,depth=2,width=24,heads=8,patch=2,dropout=0.2", (4, 4, 1)),
}
TRANSFORMERS = {
    "gpt": "gpt:size=tiny,depth=2,width=24,heads=8,dropout=0.2",
    "llama": "llama:size=tiny,depth=2,width=32,heads=16,kv_heads=8,hidden=29",
    "llama with a head of its own": "llama:size=tiny,depth=1,width=16,heads=8,kv_heads=8,tied=false",
    "bert": "bert:size=tiny,depth=2,width=24,heads=8,dropout=0.2",
}


@pytest.fixture
def group(world):
    return world.group("tensor")


def run(model, x, y, *, whole=None, later=False):
    """Return (totals, outputs, dx, arena, loss) after two microbatches; outputs are those of evaluation."""
    arena = Arena(model.named_parameters(), model.named_states(), seed=3, dtype=np.float64, whole=whole)
    body, loss = split_head(model, SoftmaxCrossEntropy(0.1))
    ctx = Context(dtype=np.float64, seed=5)
    arena.begin_step(2)
    for ctx.step in range(2):
        ctx.later = [] if later else None
        totals = loss.forward(body.forward(x, ctx), y, ctx)
        dx = body.backward(loss.backward(ctx), ctx)
        for put_gradient in ctx.later or ():
            put_gradient()
        dx, ctx.later = np.array(dx), None
    arena.end_backward()
    return totals, np.array(model.forward(x, Context(training=False, dtype=np.float64))), dx, arena, loss


def assert_same(make, x, y, group, *, later=False, sequence=False):
    """Compare a divided model with the whole one; return the divided one and its loss."""
    whole, part = make(), make()
    totals, outputs, dx, expected, _ = run(whole, x, y)
    table = ModelTable.of(part)
    check(part, group.size, x.shape[1:], sequence=sequence)
    part = divide(part, group, x.shape[1:], sequence=sequence).model
    found = run(part, x, y, whole=table, later=later)
    assert found[0] == pytest.approx(totals, rel=1e-12)
    np.testing.assert_allclose(found[1], outputs, 1e-12, 1e-12)
    if whole.needs_dx:
        np.testing.assert_allclose(found[2], dx, 1e-12, 1e-12)
    for mine, theirs in ((found[3].parameters, expected.parameters), (found[3].state_list, expected.state_list)):
        assert [tensor.name for tensor in mine] == [tensor.name for tensor in theirs]
        for tensor, other in zip(mine, theirs, strict=True):
            pairs = [(tensor.data, other.data)]
            if hasattr(tensor, "grad"):
                pairs.append((tensor.grad, other.grad))
            for a, b in pairs:
                b = b if tensor.shard is None else tensor.shard.take(b)
                np.testing.assert_allclose(a, b, 1e-11, 1e-12, err_msg=tensor.name)
    return part, found[4]


def samples(shape, num_outputs=4):
    rng = np.random.default_rng(11)
    return rng.standard_normal((SAMPLES, *shape)), rng.integers(0, num_outputs, SAMPLES)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(group, name):
    text, shape = NETWORKS[name]
    x, y = samples(shape)

    def made():
        network = models.build(text, shape, 4)
        network.ask_dx(name != "mlp")  # of the samples: not in training
        return network

    model, _ = assert_same(made, x, y, group, later=name in ("lenet", "vit"))
    parameters = [p for _, p in model.named_parameters()]
    assert sum(p.shard is not None for p in parameters) >= 3


@pytest.mark.parametrize("sequence", [False, True], ids=["tensor", "sequence"])
@pytest.mark.parametrize("large", [False, True], ids=["small vocabulary", "large vocabulary"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(group, monkeypatch, name, large, sequence):
    """Tokens and heads that do not divide by the ranks; targets that count for nothing."""
    monkeypatch.setattr(head_loss, "LARGE", 16 if large else 1000)
    monkeypatch.setattr(head_loss, "LEAST_ROWS", 4)
    monkeypatch.setattr(head_loss, "CHUNK_BYTES", 0)
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, VOCABULARY, (2, SAMPLES, TOKENS))
    y[rng.random(y.shape) < 0.3] = -100
    made = lambda: models.build(TRANSFORMERS[name], (TOKENS,), VOCABULARY)  # noqa: E731
    _, loss = assert_same(made, x, y, group, later=name == "gpt", sequence=sequence)
    assert (type(loss) is DividedHeadLoss) == large


@pytest.mark.parametrize("on", ["*.q,*.v", "*.attention.*,*.mlp.*"])
@pytest.mark.parametrize("sequence", [False, True], ids=["tensor", "sequence"])
def test_adapters(group, on, sequence):
    """Low-rank adapters of columns and rows, over all outputs and over queries and values, with dropout."""
    x, y = np.random.default_rng(4).integers(0, VOCABULARY, (2, SAMPLES, TOKENS))

    def made():
        model = models.build(TRANSFORMERS["llama"], (TOKENS,), VOCABULARY)
        models.add_lora(model, LoRAOptions(rank=3, dropout=0.2, on=tuple(on.split(",")), train=("*.norm1",)))
        for name, p in model.named_parameters():
            if "lora" in name:
                p.init = init.normal(0.2)  # b begins with 0 otherwise, and da would be 0
        return model

    model, _ = assert_same(made, x, y, group, sequence=sequence)
    trained = {name: p for name, p in model.named_parameters() if not p.frozen}
    assert trained["1.attention.qkv.lora_v.b" if "v" in on else "1.attention.qkv.lora.b"].shard is not None
    assert all(p.shard is not None or p.sum_over is group for name, p in trained.items() if "lora" in name)


def test_sequence_parallelism_sums_what_is_whole_in_the_blocks(group):
    model = models.build(TRANSFORMERS["gpt"], (TOKENS,), VOCABULARY)
    part = divide(model, group, (TOKENS,), sequence=True).model
    names = {name for name, p in part.named_parameters() if p.sum_over is not None}
    assert "2.norm1.weight" in names
    assert "2.attention.out.bias" in names
    assert "2.mlp.2.bias" in names
    assert "4.bias" in names  # the norm behind the blocks
    assert not names & {"0.weight", "0.positions", "2.attention.qkv.weight"}


def test_rows_of_other_lengths(group):
    """Tokens are divided for the rows of each microbatch, and in evaluation."""
    model, whole = (models.build(TRANSFORMERS["llama"], (TOKENS,), VOCABULARY) for _ in range(2))
    table = ModelTable.of(model)
    part = divide(model, group, (TOKENS,), sequence=True).model
    for one in (part, whole):
        Arena(one.named_parameters(), one.named_states(), dtype=np.float64, whole=table)
    for length in (3, 7, 1, 5):
        x = np.random.default_rng(length).integers(0, VOCABULARY, (2, length))
        both = [one.forward(x, Context(training=False, dtype=np.float64)) for one in (part, whole)]
        np.testing.assert_allclose(*both, 1e-12, 1e-12)


def own_network():
    """Layers of all kinds between products, nested and repeated, and some that no rule knows."""
    shared = Linear(12, 12)
    return models.prepare(
        Sequential(
            Sequential(Conv2d(2, 10, 3, padding=1), BatchNorm2d(10), ReLU()),
            Conv2d(10, 10, 3, padding=1, groups=10),
            Dropout(0.2),
            MaxPool2d(2),
            Flatten(),
            Linear(40, 12),
            LayerNorm(12),
            shared,
            Tanh(),
            shared,
            Residual(Sequential(Linear(12, 18), SwiGLU(), Linear(9, 12, bias=False))),
            Recompute(Sequential(Linear(12, 11), GELU(), Linear(11, 12))),
            Linear(12, 4),
        )
    )


def test_a_network_of_the_user(group):
    x, y = samples((4, 4, 2))
    model, _ = assert_same(own_network, x, y, group)
    cut = {name for name, p in model.named_parameters() if p.shard is not None}
    assert {"0.0.weight", "0.1.bias", "1.weight", "5.weight", "10.body.0.weight", "11.2.weight"} <= cut
    assert not any(name.startswith(("6.", "7.", "12.")) for name in cut)


class Half(Layer):
    """y = f(x) / 2, where the outputs of the first Linear are also looked at: a rule must not divide it."""

    def __init__(self):
        self.network = Sequential(Linear(12, 10), Tanh(), Linear(10, 12))

    def forward(self, x, ctx):
        assert self.network[0].forward(x, ctx).shape[-1] == 10
        return np.multiply(self.network.forward(x, ctx), 0.5)

    def backward(self, dy, ctx):
        return self.network.backward(np.multiply(dy, 0.5), ctx)


def test_a_layer_of_the_user_stays_whole(group):
    x, y = samples((5,))

    def made():
        return models.prepare(Sequential(Linear(5, 9), ReLU(), Linear(9, 12), Half(), Linear(12, 4)))

    model, _ = assert_same(made, x, y, group)
    assert {name for name, p in model.named_parameters() if p.shard is not None} == {"0.weight", "0.bias", "2.weight"}
    assert any("3 (Half)" in note for note in group.job.notes)


REFUSED = {
    "the attention 1.attention has 2 heads of keys and values, which 3 ranks cannot divide": "llama:size=tiny,depth=1",
    "the attention 1.attention has 2 heads, which 3 ranks cannot divide: the nearest number is --mesh tensor=2": (
        "bert:size=tiny,depth=1"
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_numbers_of_ranks_that_do_not_fit(message):
    with pytest.raises(UserError, match=message):
        check(models.build(REFUSED[message], (TOKENS,), VOCABULARY), 3, (TOKENS,))


def test_models_that_ranks_cannot_divide():
    with pytest.raises(UserError, match=r"widest layer .* has 8 outputs, which 9 ranks .* --mesh tensor=8$"):
        check(models.build("mlp:widths=8", (4,), 3), 9, (4,))
    with pytest.raises(UserError, match="the model has none: use axis data"):
        check(models.build("mlp:widths=", (4,), 3), 2, (4,))
    with pytest.raises(UserError, match="--sequence-parallel divides tokens in blocks of transformers"):
        check(models.build("mlp:widths=8", (4,), 3), 2, (4,), sequence=True)


def test_a_note_says_what_stays_whole(group):
    divide(models.build("mlp:widths=40+40", (6,), 30), group, (6,))
    assert "axis tensor leaves whole, on each of its ranks: 1 (Linear)" in group.job.notes


@pytest.mark.parametrize("name", ["lenet", "gpt"])
def test_devices(world, device, monkeypatch, name):
    """On a device, or on some ranks on one: sums, outputs and gradients of the whole model on the CPU."""
    monkeypatch.setattr(head_loss, "LARGE", 16)
    group = world.group("tensor").divide(0, "tensor")  # another one, whose plans are for a device
    group.use_staging(HOST if device is CPU else HostStaging(device))
    if name == "gpt":
        text, shape, num_outputs = TRANSFORMERS["gpt"], (TOKENS,), VOCABULARY
        x, y = np.random.default_rng(4).integers(0, VOCABULARY, (2, SAMPLES, TOKENS))
    else:
        (text, shape), num_outputs = NETWORKS["lenet"], 4
        x, y = samples(shape)
        x = x.astype(np.float32)

    def run_on(place, divided):
        model = models.build(text, shape, num_outputs)
        table = ModelTable.of(model)
        model = divide(model, group, shape, sequence=name == "gpt").model if divided else model
        arena = Arena(model.named_parameters(), model.named_states(), seed=3, device=place, whole=table)
        body, loss = split_head(model, SoftmaxCrossEntropy(0.1))
        ctx = Context(seed=5, device=place)
        arena.begin_step()
        totals = loss.forward(body.forward(place.from_host(x), ctx), place.from_host(y), ctx)
        body.backward(loss.backward(ctx), ctx)
        arena.end_backward()
        return np.array(place.to_host(totals)), [(p, np.array(place.to_host(p.grad))) for p in arena.parameters]

    totals, whole = run_on(CPU, False)
    found, parts = run_on(device, True)
    np.testing.assert_allclose(found, totals, 1e-5)
    for (p, gradient), (_, expected) in zip(parts, whole, strict=True):
        expected = expected if p.shard is None else p.shard.take(expected)
        np.testing.assert_allclose(gradient, expected, 1e-3, 1e-5, err_msg=p.name)
