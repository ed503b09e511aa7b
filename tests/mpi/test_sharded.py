"""Sharded updates: the weights are those of one rank that does it all, and each rank keeps its own slots only."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import HEADER, Arena
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import LARS, SGD, Adam, AdamW, clip_factor
from mpitrain.parallel.all_reduce_sync import AllReduceSync
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.local_sync import LocalSync
from mpitrain.parallel.zero1 import Zero1
from mpitrain.parallel.zero1_shared import Zero1Shared

pytestmark = pytest.mark.mpi

OPTIMIZERS = {
    "sgd": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "lars": (LARS, {"eta": 0.02}),
}
SIZES = {"tiny": (1, (1,)), "odd": (7, (13, 5)), "long": (300, (250,))}  # features, hidden widths


class Run:
    """A model on the ranks of a world, and its steps."""

    def __init__(self, world, optimizer="momentum", size="odd", dtype=np.float64, **options):
        self.features, widths = SIZES[size]
        self.world = world
        self.model = models.build("mlp", (self.features,), 3, widths=widths)
        self.arena = Arena(self.model.named_parameters(), self.model.named_states(), dtype=dtype)
        self.parallel = DataParallel(self.model, self.arena, world, **options)
        make, settings = OPTIMIZERS[optimizer]
        self.optimizer = make(self.arena, weight_decay=0.01, **settings)
        self._loss, self._saved = SoftmaxCrossEntropy(), Context(dtype=dtype)

    def backward(self, num_samples, seed, microbatches=1):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((num_samples, self.features)).astype(self.arena.dtype)
        y = rng.integers(0, 3, num_samples)
        mine = share(num_samples, self.world.rank, self.world.size)
        self.parallel.begin(microbatches)
        for k in range(microbatches):
            part = share(len(x[mine]), k, microbatches)
            outputs = self.model.forward(x[mine][part], self._saved)
            self.arena.header[:3] += self._loss.forward(outputs, y[mine][part], self._saved)
            self.model.backward(self._loss.backward(self._saved), self._saved)
        self.parallel.finish()
        return self.arena.header[:3].copy()

    def step(self, seed, *, clip=0.0, num_samples=11, microbatches=1):
        sums = self.backward(num_samples, seed, microbatches)
        scale = 1 / sums[0]
        if clip:
            scale *= clip_factor(self.parallel.norm() * scale, clip)
        self.parallel.update(self.optimizer, 0.1, scale)
        return sums


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("clip", [0.0, 0.01])
@pytest.mark.parametrize("all_reduce", ["auto", "ring", "halving_doubling"])
def test_weights_are_those_of_one_rank(world, alone, optimizer, size, clip, all_reduce):
    options = {"shard": "optimizer", "all_reduce": all_reduce, "bucket_bytes": 4000}
    both, one = Run(world, optimizer, size, **options), Run(alone, optimizer, size)
    if world.size > 1:
        assert isinstance(both.parallel.sync, Zero1Shared if all_reduce == "auto" else Zero1)
    for seed in range(4):
        sums = both.step(seed, clip=clip, microbatches=2)
        np.testing.assert_allclose(sums, one.step(seed, clip=clip), rtol=1e-12)
        np.testing.assert_allclose(both.arena.values, one.arena.values, rtol=1e-6, atol=1e-9)
    both.parallel.verify("now")
    both.parallel.gather_slots(both.optimizer)
    for name, slot in one.optimizer.slots.items():
        np.testing.assert_allclose(both.optimizer.slots[name], slot, rtol=1e-6, atol=1e-9)
    both.parallel.free()


@pytest.mark.parametrize("all_reduce", ["auto", "ring"])
def test_ranks_share_the_slots(world, all_reduce):
    run = Run(world, "adamw", "long", shard="optimizer", all_reduce=all_reduce)
    run.step(0)
    own = run.parallel.sync.own or (slice(0, run.arena.size),)
    for slot in run.optimizer.slots.values():
        assert all(slot[part].any() for part in own)
        mine = np.zeros(run.arena.size, bool)
        for part in own:
            mine[part] = True
        assert not slot[~mine].any()
    lengths = world.all_gather(sum(part.stop - part.start for part in own))
    if world.size > 1:
        assert sum(lengths) == run.arena.size - HEADER
        assert max(lengths) - min(lengths) <= 8 * len(run.parallel.buckets)
    run.parallel.free()


def test_a_step_without_an_update(world):
    """As when it is skipped: nothing changes, and the next step is right."""
    results = []
    for skip in (False, True):
        run = Run(world, shard="optimizer")
        if skip:
            before = run.arena.values.copy()
            for seed in (7, 8):
                run.backward(11, seed)
            np.testing.assert_array_equal(run.arena.values, before)
        run.step(1)
        results.append(run.arena.values.copy())
        run.parallel.free()
    np.testing.assert_array_equal(*results)


def test_fewer_samples_than_ranks(world, alone):
    both, one = Run(world, shard="optimizer"), Run(alone)
    for seed in range(3):
        both.step(seed, num_samples=1)
        one.step(seed, num_samples=1)
        np.testing.assert_allclose(both.arena.values, one.arena.values, rtol=1e-6, atol=1e-9)
    both.parallel.free()


def test_the_arena_outlives_the_shared_memory(world):
    run = Run(world, shard="optimizer")
    run.step(0)
    before = run.arena.values.copy()
    run.parallel.free()
    np.testing.assert_array_equal(run.arena.values, before)
    assert all(np.shares_memory(p.data, run.arena.values) for p in run.arena.parameters)


def test_one_copy_of_the_weights(world):
    run = Run(world, shard="optimizer")
    world.barrier()
    if world.rank == world.size - 1:
        run.arena.values[HEADER] = 42
    world.barrier()
    assert run.arena.values[HEADER] == 42
    run.parallel.free()


def test_no_room(world, monkeypatch):
    monkeypatch.setattr("mpitrain.comm.node.windows.why_not", lambda *_, **__: "the moon is full")
    for shard, expected in (("auto", AllReduceSync), ("optimizer", Zero1)):
        run = Run(world, shard=shard)
        assert isinstance(run.parallel.sync, expected if world.size > 1 else LocalSync)
        run.step(0)
        run.parallel.verify("now")
        run.parallel.free()
    world.notes.clear()


def test_an_all_reduce_without_halves(world):
    if world.size > 1:
        with pytest.raises(AgreedError, match="sums in chunks: --all-reduce auto, ring, halving_doubling, not tree"):
            Run(world, shard="optimizer", all_reduce="tree")
