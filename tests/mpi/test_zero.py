"""ZeRO stages 2 and 3: the weights are those of one rank that keeps everything, and memory goes back."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError
from mpitrain.head_loss import split_head
from mpitrain.layers import BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Residual, Sequential
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import LARS, SGD, Adam, clip_factor
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.zero2 import Zero2
from mpitrain.parallel.zero3 import Zero3
from mpitrain.training.mesh.pipeline import recompute

pytestmark = pytest.mark.mpi

STAGES = {
    "gradients": {"shard": "gradients"},
    "once": {"shard": "weights", "gather_weights": "once"},
    "twice": {"shard": "weights", "gather_weights": "twice"},
}
OPTIMIZERS = {"sgd": (SGD, {"momentum": 0.9}), "adam": (Adam, {}), "lars": (LARS, {"eta": 0.02})}
CLASSES = 5


def make_model(name):
    if name == "tiny":  # fewer parameters than ranks
        return models.build("mlp", (1,), CLASSES, widths=(1,)), (1,)
    if name == "mlp":
        return models.build("mlp", (7,), CLASSES, widths=(13, 6, 9)), (7,)
    if name == "norms":
        convs = Sequential(Conv2d(1, 3, 3, padding=1), BatchNorm2d(3), ReLU())
        block = Residual(Sequential(Conv2d(3, 3, 3, padding=1), BatchNorm2d(3)), activation=ReLU())
        return models.prepare(Sequential(convs, block, Flatten(), Linear(3 * 36, CLASSES))), (6, 6, 1)
    codes = models.Codes(CLASSES, 6)
    return models.build("gpt:depth=2,width=8,heads=2,dropout=0.1", (6,), CLASSES, codes=codes), (6,)


class Run:
    """A model on the ranks of a world, and its steps."""

    def __init__(self, world, model="mlp", optimizer="sgd", *, again=False, dtype=np.float64, **options):
        self.world, self.name = world, model
        self.model, self.shape = make_model(model)
        if again:
            self.model = recompute(self.model, "blocks")
        self.arena = Arena(self.model, dtype=dtype)
        options = {"all_reduce": "auto", "bucket_bytes": 1000} | options
        self.parallel = DataParallel(self.model, self.arena, world, **options)
        make, settings = OPTIMIZERS[optimizer]
        self.optimizer = make(self.arena, weight_decay=0.01, **settings)
        self.loss, self.ctx, self.steps = SoftmaxCrossEntropy(), Context(seed=3, dtype=dtype), 0

    def samples(self, count, seed):
        rng = np.random.default_rng(seed)
        if self.name == "gpt":
            rows = rng.integers(0, CLASSES, (count, 7))
            return rows[:, :-1], rows[:, 1:]
        x = rng.standard_normal((count, *self.shape)).astype(self.arena.dtype)
        return x, rng.integers(0, CLASSES, count)

    def step(self, count=11, microbatches=1, clip=0.0, skip=False):
        self.steps += 1
        x, y = self.samples(count, self.steps)
        with self.parallel.step(microbatches) as step:
            for k in range(microbatches):  # the same microbatches of the whole batch on any number of ranks
                all_of_it = share(count, k, microbatches)
                first = all_of_it.start
                mine = share(all_of_it.stop - first, self.world.rank, self.world.size)
                part = slice(first + mine.start, first + mine.stop)
                self.ctx.step, self.ctx.first = self.steps, part.start
                step.add(self.loss.forward(self.model.forward(x[part], self.ctx), y[part], self.ctx))
                self.model.backward(self.loss.backward(self.ctx), self.ctx)
        scale = 1 / step.totals.weight
        if clip:
            scale *= clip_factor(self.parallel.norm() * scale, clip)
        if skip:
            self.parallel.skip()
        else:
            self.parallel.update(self.optimizer, 0.1, scale)
        return np.array(step.totals)

    def weights(self):
        with self.parallel.whole_weights():
            return {name: np.array(view) for name, view in self.arena.named_tensors().items()}


def assert_equal(run, other, tolerance=1e-9):
    expected = other.weights()
    for name, found in run.weights().items():
        np.testing.assert_allclose(found, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("model", ["tiny", "mlp", "norms", "gpt"])
@pytest.mark.parametrize("microbatches", [1, 3])
def test_weights_are_those_of_one_rank(world, alone, stage, model, microbatches):
    run, one = Run(world, model, **STAGES[stage]), Run(alone, model)
    if world.size > 1:
        assert type(run.parallel.sync) is (Zero2 if stage == "gradients" else Zero3)
    for number in range(20 if model == "mlp" else 7):
        sums = run.step(microbatches=microbatches, clip=0.3 if number % 2 else 0.0, skip=number == 5)
        expected = one.step(microbatches=microbatches, clip=0.3 if number % 2 else 0.0, skip=number == 5)
        np.testing.assert_allclose(sums, expected, rtol=1e-9)
    assert_equal(run, one)
    run.parallel.verify("now")
    run.parallel.free()
    assert_equal(run, one)


@pytest.mark.parametrize("optimizer", ["adam", "lars"])
@pytest.mark.parametrize("stage", ["gradients", "twice"])
def test_optimizers_and_recompute(world, alone, stage, optimizer):
    run, one = Run(world, "gpt", optimizer, again=True, **STAGES[stage]), Run(alone, "gpt", optimizer)
    for _ in range(4):
        run.step(count=2, microbatches=2)
        one.step(count=2, microbatches=2)
    assert_equal(run, one)
    run.parallel.free()


@pytest.mark.parametrize("stage", STAGES)
def test_bits_are_those_of_stage_1(world, stage):
    """One microbatch, the same buckets: the sums are added in the same order."""
    found = []
    for options in (STAGES[stage], {"shard": "optimizer"}):
        run = Run(world, "mlp", dtype=np.float32, all_reduce="ring", **options)
        for _ in range(3):
            run.step()
        found.append(run.weights())
        run.parallel.free()
    if world.size > 2 and stage != "gradients":  # other chunks, in which sums of three numbers begin elsewhere
        pytest.skip("pieces are other buckets")
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)


class Large:
    """A chain of 8 layers of 4 MiB in float64, whose memory is measured at every read of a parameter."""

    def __init__(self, world, layers=8, **options):
        wide = Sequential(*(Linear(724, 724, bias=False) for _ in range(layers)))
        self.model = models.prepare(wide)
        self.arena = Arena(self.model, dtype=np.float64)
        self.parallel = DataParallel(self.model, self.arena, world, all_reduce="auto", bucket_bytes=1 << 20, **options)
        self.optimizer, self.ctx = SGD(self.arena), Context(dtype=np.float64)
        self.layer = self.arena.parameters[0].size * 8
        self.most = {"weights": 0, "gradients": 0}

    def look(self, layer, phase, array):
        sync = self.parallel.sync
        memory = {"gradients": sync.memory, "weights": self.arena.memory}
        for name, held in memory.items():
            if held is not None:
                self.most[name] = max(self.most[name], held.resident_bytes)

    def step(self, microbatches):
        stop = self.model.observe(self.look)
        x = np.ones((2, 724))
        with self.parallel.step(microbatches):
            for _ in range(microbatches):
                self.model.backward(self.model.forward(x, self.ctx), self.ctx)
        self.look(None, "", x)
        stop()
        self.parallel.update(self.optimizer, 1e-6, 1.0)


@pytest.mark.parametrize("stage", ["gradients", "twice"])
def test_memory_goes_back(world, stage):
    """Own shares, and two layers of weights and three of gradients: the ones that compute and travel, of 8."""
    if world.size == 1:
        pytest.skip("one rank keeps everything")
    run = Large(world, **STAGES[stage])
    whole, pages = run.arena.gradients.nbytes, 20 * 4096
    for _ in range(3):
        run.step(2)
    share = whole / world.size
    assert share <= run.most["gradients"] <= share + 3 * run.layer + pages
    if stage == "twice":
        assert share <= run.most["weights"] <= share + 2 * run.layer + pages
        assert run.arena.memory.resident_bytes <= share + pages
    run.parallel.free()


def test_gathers_of_a_step(world):
    """Every unit once for forward; the last is still there for backward, and the first needs no dx."""
    if world.size == 1:
        pytest.skip("one rank gathers nothing")
    for stage, expected in (("once", 8), ("twice", 14)):
        run = Large(world, **STAGES[stage])
        values = run.parallel.sync.values
        for number in range(3):
            before = values.num_gathers
            run.step(1)
            assert values.num_gathers - before == expected, (stage, number)
        run.parallel.free()


class Keeps(Linear):
    """A Linear that keeps a view of its weights from forward to backward."""

    def forward(self, x, ctx):
        y = super().forward(x, ctx)
        ctx[self] = *ctx[self], self.weight.data.T
        return y

    def backward(self, dy, ctx):
        rows, _, turned = ctx[self]
        self.put_gradients(rows, dy)
        return dy @ turned


def keeping():
    return models.prepare(Sequential(*(Keeps(40, 40) for _ in range(4)), Linear(40, CLASSES)))


def test_a_view_that_a_layer_holds_stays_right(world, alone, monkeypatch):
    monkeypatch.setattr("tests.mpi.test_zero.make_model", lambda name: (keeping(), (40,)))
    run, one = Run(world, "keeps", **STAGES["twice"]), Run(alone, "keeps")
    for _ in range(3):
        run.step()
        one.step()
    assert_equal(run, one)
    run.parallel.free()


def test_reads_of_the_whole(world):
    run = Run(world, "mlp", **STAGES["twice"])
    run.step()
    first = run.weights()
    with run.parallel.whole_weights(here=world.rank == 0):
        here = run.arena.parameters[0].data.copy()
    if world.rank == 0:
        np.testing.assert_array_equal(here, first[run.arena.parameters[0].name])
    run.step()
    run.parallel.free()
    assert run.arena.divided is None


def test_algorithms_without_halves(world):
    if world.size > 1:
        for shard in ("gradients", "weights"):
            with pytest.raises(AgreedError, match=f"--shard {shard} sums in chunks"):
                Run(world, all_reduce="tree", shard=shard)


def test_large_heads_compute_with_their_loss(world, alone, monkeypatch):
    """HeadLoss writes the gradients of the head, and of the table that it shares, in forward."""
    monkeypatch.setattr("mpitrain.head_loss.LARGE", 2)
    runs = [Run(world, "gpt", **STAGES["twice"]), Run(alone, "gpt")]
    for run in runs:
        run.model, run.loss = split_head(run.model, run.loss)
        for _ in range(4):
            run.step(microbatches=2)
    assert_equal(*runs)
    runs[0].parallel.free()
