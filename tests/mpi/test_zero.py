"""ZeRO stages 2 and 3: the weights are those of one rank that keeps everything, and memory goes back."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import HEADER, Arena
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError
from mpitrain.head_loss import split_head
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import LARS, SGD, Adam, clip_factor
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.zero2 import Zero2
from mpitrain.parallel.zero3 import Zero3
from mpitrain.training.pipeline import recompute

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
    if name == "lenet":
        return models.build("resnet8", (8, 8, 1), CLASSES), (8, 8, 1)
    tokens = models.Tokens(CLASSES, 6)
    return models.build("gpt:depth=2,width=8,heads=2,dropout=0.1", (6,), CLASSES, tokens=tokens), (6,)


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
@pytest.mark.parametrize("model", ["tiny", "mlp", "lenet", "gpt"])
@pytest.mark.parametrize("microbatches", [1, 3])
def test_weights_are_those_of_one_rank(world, alone, stage, model, microbatches):
    if world.size > 1 and model != "mlp" and stage == "once" and microbatches == 1:
        pytest.skip("covered by the others")
    run, one = Run(world, model, **STAGES[stage]), Run(alone, model)
    if world.size > 1:
        assert type(run.parallel.sync) is (Zero2 if stage == "gradients" else Zero3)
    for number in range(20):
        sums = run.step(microbatches=microbatches, clip=0.3 if number % 2 else 0.0, skip=number == 5)
        expected = one.step(microbatches=microbatches, clip=0.3 if number % 2 else 0.0, skip=number == 5)
        np.testing.assert_allclose(sums, expected, rtol=1e-9)
    assert_equal(run, one)
    run.parallel.verify("now")
    run.parallel.free()
    assert_equal(run, one)
