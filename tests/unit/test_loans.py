"""Memory that is lent again as soon as nothing refers to it, and layers that keep what others could have taken."""

import sys
from functools import partial

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU, Loans, loans
from mpitrain.head_loss import split_head
from mpitrain.layers import GELU, Dropout, Layer, Linear, Recompute, Sequential
from mpitrain.losses import SoftmaxCrossEntropy
from tests.microbatches import ORDERS, PLAIN, Microbatches, assert_same_bits

SIZE = loans.LEAST_BYTES // 4  # float32 numbers of the smallest array that is lent


@pytest.fixture
def all_lent(monkeypatch):
    """Lend small arrays, too, and ruin the contents of whatever is lent."""
    lend = Loans.lend

    def ruined(self, key, num_bytes):
        memory = lend(self, key, num_bytes)
        memory.fill(0xFF)  # NaN
        return memory

    monkeypatch.setattr(loans, "LEAST_BYTES", 0)
    monkeypatch.setattr(Loans, "lend", ruined)


def never_lend(monkeypatch):
    monkeypatch.setattr(loans, "LEAST_BYTES", sys.maxsize)


def lend(ctx, name, size=SIZE):
    return ctx.lend(lend, name, (size,))


VIEWS = {
    "itself": lambda x: x,
    "slice": lambda x: x[5:7],
    "shape": lambda x: x.reshape(2, -1).T,
    "bytes": lambda x: x.view(np.uint8),
    "strides": lambda x: np.lib.stride_tricks.as_strided(x, (3,), (8,)),
    "broadcast": lambda x: np.broadcast_to(x[:1], (4,)),
    "buffer": lambda x: np.frombuffer(memoryview(x), np.float32),
    "memory": memoryview,
    "function": lambda x: partial(np.sum, x),
    "iterator": lambda x: x.flat,
}


@pytest.mark.parametrize("name", VIEWS)
def test_memory_is_not_lent_while_something_refers_to_it(name):
    ctx = Context()
    kept = VIEWS[name](lend(ctx, "a"))
    address = lend(ctx, "a").ctypes.data  # the same name gets the same memory
    other = lend(ctx, "b")
    assert other.ctypes.data != address
    del kept, other
    assert lend(ctx, "c").ctypes.data == address, "nothing refers to it any more"
    assert ctx.num_bytes == 2 * 4 * SIZE


def test_forward_backward_and_microbatches_share_memory():
    first = Context()
    second = Context(share=first)
    addresses = {
        lend(first, "y").ctypes.data,
        lend(second, "y").ctypes.data,
        lend(first.backward, "dx").ctypes.data,
        lend(second.backward, "dx").ctypes.data,
    }
    second.later = []
    addresses.add(lend(second.backward, "dx").ctypes.data)
    assert len(addresses) == 1
    assert (first.num_bytes, second.num_bytes) == (4 * SIZE, 0)
    assert not np.shares_memory(lend(Context(), "y"), lend(first, "y"))


def test_the_same_name_of_another_context_is_another_array():
    first = Context()
    second = Context(share=first)
    a, b, c = lend(first, "y"), lend(second, "y"), lend(first.backward, "y")
    assert not np.shares_memory(a, b)
    assert not np.shares_memory(a, c)
    assert not np.shares_memory(b, c)
    assert np.shares_memory(a, lend(first, "y"))


def test_small_arrays_have_memory_of_their_own():
    ctx = Context()
    first = lend(ctx, "a", SIZE - 1)
    assert lend(ctx, "a", SIZE - 1) is first
    address = first.ctypes.data
    del first
    assert lend(ctx, "b", SIZE - 1).ctypes.data != address


def test_a_free_block_that_fits_is_taken_before_a_new_one():
    ctx = Context()
    lend(ctx, "large", 3 * SIZE)
    small = lend(ctx, "small")
    assert ctx.num_bytes == 4 * 3 * SIZE
    tiny = lend(ctx, "tiny")  # which takes a new one
    del small
    tall = lend(ctx, "tall", 2 * SIZE)
    assert ctx.num_bytes == 4 * 4 * SIZE
    assert not np.shares_memory(tall, tiny)
    huge = Context()
    lend(huge, "huge", 40 * SIZE)
    lend(huge, "small")
    assert huge.num_bytes == 4 * 41 * SIZE, "most of a much larger block would be lost"


def test_a_block_that_is_too_small_is_replaced():
    """Rows of any length, in any order: as much memory as the longest need at a time, but for blocks that fit less."""
    seed = np.random.SeedSequence().entropy
    rng = np.random.default_rng(seed)
    ctx = Context()
    for length in [*range(1, 30), *rng.integers(1, 60, 100), 60]:
        x = lend(ctx, "x", SIZE * int(length))
        for i in range(6):
            y = ctx.lend(ctx, f"y{i}", (SIZE * int(length),))
            y[...] = i
            x[...] = y
        assert (x == 5).all(), seed
    assert ctx.num_bytes <= 3 * 4 * 60 * SIZE, seed


def test_a_step_like_the_one_before_takes_no_new_memory():
    model = models.build("gpt:depth=3,width=64,heads=2", (64,), 16)
    step, ctx = language_step(model, np.random.default_rng(0).integers(0, 16, (32, 64)))
    step()
    step()
    before = ctx.loans._blocks.copy()
    step()
    assert len(before) == len(ctx.loans._blocks) > 10
    assert all(a is b for a, b in zip(before, ctx.loans._blocks, strict=True))


def test_deeper_models_take_no_more_memory_for_backward():
    """Each block adds what forward keeps of it, and nothing else."""

    def taken(depth):
        step, ctx = language_step(
            models.build(f"gpt:depth={depth},width=64,heads=2", (64,), 16), np.zeros((32, 64), int)
        )
        step()
        step()
        return ctx.num_bytes - sum(array.nbytes for key, array in ctx._buffers.items() if key[1] == "r")

    array = 4 * 32 * 64 * 64
    kept = 2 * 2 + 3 + 1 + 4 * 2  # norms: z, y; q, k, v; heads; y and slope of GELU
    log_sum_exp = 4 * 2 * 32 * 64
    assert taken(5) - taken(3) == 2 * (kept * array + log_sum_exp)


def language_step(model, x):
    arena, ctx, loss = Arena(model), Context(), SoftmaxCrossEntropy()
    body, criterion = split_head(model, loss)

    def step():
        arena.begin_step()
        criterion.forward(body.forward(x, ctx), x, ctx)
        body.backward(criterion.backward(ctx), ctx)
        arena.end_backward()

    return step, ctx


class Keeper(Layer):
    """A user's layer that keeps its x, y, dy and dx until it is asked, and looks at them again."""

    def __init__(self):
        self.kept = []

    def forward(self, x, ctx):
        y = ctx.lend(self, "y", x.shape)
        np.multiply(x, 2, out=y)
        self.keep(x, y)
        return y

    def backward(self, dy, ctx):
        dx = ctx.backward.lend(self, "dx", dy.shape)
        np.multiply(dy, 2, out=dx)
        self.keep(dy)
        return dx

    def keep(self, *arrays):
        self.kept += [(array, array.copy()) for array in arrays]

    def check(self):
        for array, copy in self.kept:
            np.testing.assert_array_equal(array, copy)
        self.kept.clear()


class Same(Layer):
    """A user's layer that returns its x and its dy."""

    def forward(self, x, ctx):
        return x

    def backward(self, dy, ctx):
        return dy


class InPlace(Layer):
    """A user's layer that writes over dy and asks for memory of its own."""

    def forward(self, x, ctx):
        y = ctx[self] = ctx.empty(self, "y", x.shape)
        np.sin(x, out=y)
        return y

    def backward(self, dy, ctx):
        dy *= ctx.empty(self, "y", dy.shape)  # with the contents last written
        view = dy[::-1]
        return view[::-1]


def own_layers():
    """Layers of users between Linears, which do not write over the dy that a Keeper keeps."""
    return Sequential(
        *(Linear(6, 24), Keeper(), Linear(24, 6), Same(), Keeper(), Linear(6, 24), InPlace(), Same(), GELU()),
        *(Linear(24, 24), Keeper(), Dropout(0.2), Same(), Linear(24, 5)),
    )


class Watched(Microbatches):
    """Microbatches whose Keepers look at what they keep after each backward, when none of it has been used again."""

    def backward(self, dy, ctx):
        dx = super().backward(dy, ctx)
        for layer in self.layers[0]:
            if isinstance(layer, Keeper):
                layer.check()
        return dx


def run_own_layers(order):
    xs = [np.random.default_rng(i).random((9 - i, 6), np.float32) for i in range(3)]
    return Watched(lambda: [models.prepare(own_layers())], xs).run(order)


@pytest.mark.usefixtures("all_lent")
@pytest.mark.parametrize("order", [PLAIN, *ORDERS])
def test_layers_of_users(order, monkeypatch):
    """They see what they keep as they left it, and gradients have the bits that they have without loans."""
    found = run_own_layers(order)
    never_lend(monkeypatch)
    assert_same_bits(found, run_own_layers(order))


@pytest.mark.usefixtures("all_lent")
@pytest.mark.parametrize("order", [PLAIN, *ORDERS])
def test_lending_too_early_is_found(order, monkeypatch):
    """The test above fails where memory counts as free that something refers to."""
    monkeypatch.setattr(loans.Block, "is_free", lambda block: True)
    with pytest.raises(AssertionError):
        test_layers_of_users(order, monkeypatch)


MODELS = {
    "mlp": ("mlp", (12,)),
    "lenet": ("lenet", (32, 32, 1)),
    "convnet": ("convnet", (8, 8, 1)),
    "resnet8": ("resnet8", (8, 8, 3)),
    "bottlenecks": ("resnet:blocks=1+2,widths=8+12,stem=4", (13, 10, 3)),
    "branches": ("googlenet:width=0.05,small_images=true", (6, 5, 3)),
    "dense blocks": ("densenet:blocks=2+2,growth=3,small_images=true,dropout=0.2", (6, 5, 3)),
    "gpt": ("gpt:depth=2,width=16,heads=2,dropout=0.1", (7,)),
    "llama": ("llama:depth=2,width=16,heads=2,kv_heads=1,hidden=24", (7,)),
    "bert": ("bert:depth=2,width=16,heads=2,dropout=0.1,vocabulary=30", (7,)),
    "vit": ("vit:depth=2,width=16,heads=2,patch=4,dropout=0.1", (8, 8, 3)),
}


@pytest.mark.usefixtures("all_lent")
@pytest.mark.parametrize("order", [PLAIN, "one forward, one backward", "dw late"])
@pytest.mark.parametrize("around", [lambda model: model, Recompute], ids=["plain", "recompute"])
@pytest.mark.parametrize("name", MODELS)
def test_models_have_the_same_bits(name, around, order, monkeypatch):
    model, shape = MODELS[name]
    rng = np.random.default_rng(0)
    shapes = [(n, *shape) for n in (3, 5, 2)]
    is_text = len(shape) == 1 and name != "mlp"
    xs = [rng.integers(0, 11, each) if is_text else rng.random(each, np.float32) for each in shapes]

    def run():
        return Microbatches(lambda: [around(models.build(model, shape, 11))], xs).run(order)

    found = run()
    never_lend(monkeypatch)
    assert_same_bits(found, run())


def test_memory_of_a_device_that_queues_its_work_is_not_lent():
    class Queued(type(CPU)):
        captures = True

    ctx = Context(device=Queued())
    assert ctx.loans is None
    assert lend(ctx, "a") is lend(ctx, "a")
    assert not np.shares_memory(lend(ctx, "a"), lend(ctx, "b"))
