"""Data parallelism: the gradients of any split are those of the whole batch, and equal on all ranks."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.parallel.data import DataParallel

pytestmark = pytest.mark.mpi


def make(seed=3, name="mlp", shape=(6,), **options):
    model = models.build(name, shape, 4, **options)
    return model, Arena(model.named_parameters(), model.named_states(), seed=seed, dtype=np.float64)


def gradients(world, model, arena, x, y, microbatches=1, **options):
    """Return the arena's gradients after one step on this rank's share of (x, y)."""
    parallel = DataParallel(model, arena, world, shard="none", **options)
    loss, ctx = SoftmaxCrossEntropy(), Context(dtype=np.float64)
    mine = share(len(x), world.rank, world.size)
    x, y = x[mine], y[mine]
    parallel.begin(microbatches)
    for k in range(microbatches):
        part = share(len(x), k, microbatches)
        ctx.first = mine.start + part.start
        totals = loss.forward(model.forward(x[part], ctx), y[part], ctx)
        arena.header[:3] += totals
        model.backward(loss.backward(ctx), ctx)
    parallel.finish()
    parallel.free()
    return arena.gradients.copy()


@pytest.mark.parametrize("all_reduce", ["ring", "tree", "flat", "native"])
@pytest.mark.parametrize("bucket_bytes", [64, 1 << 20])
@pytest.mark.parametrize(("num_samples", "microbatches"), [(13, 1), (13, 3), (2, 1), (1, 2)])
def test_gradient_of_the_whole_batch(world, alone, all_reduce, bucket_bytes, num_samples, microbatches):
    rng = np.random.default_rng(num_samples)
    x, y = rng.standard_normal((num_samples, 6)), rng.integers(0, 4, num_samples)
    options = {"all_reduce": all_reduce, "bucket_bytes": bucket_bytes, "microbatches": microbatches}
    split = gradients(world, *make(), x, y, **options)
    whole = gradients(alone, *make(), x, y)
    assert split[0] == num_samples
    np.testing.assert_allclose(split, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_samples", [9, 2])
def test_synchronised_batch_norm(world, alone, num_samples):
    rng = np.random.default_rng(num_samples)
    x, y = rng.standard_normal((num_samples, 8, 8, 3)), rng.integers(0, 4, num_samples)
    results = []
    for w in (world, alone):
        model, arena = make(name="resnet8", shape=(8, 8, 3))
        results.append((gradients(w, model, arena, x, y), arena.states.copy()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-10, atol=1e-10)


def test_rank_zero_gives_the_first_weights(world):
    model, arena = make(seed=world.rank)
    DataParallel(model, arena, world).free()
    expected = make(seed=0)[1].values
    np.testing.assert_array_equal(arena.values, expected)


def test_differing_weights_are_named(world):
    model, arena = make()
    parallel = DataParallel(model, arena, world, shard="none")
    parallel.verify("now")
    if world.size > 1:
        if world.rank == world.size - 1:
            arena.parameters[1].data.flat[0] += 1
        with pytest.raises(AgreedError, match=rf"differ from those of rank \d now: {arena.parameters[1].name}"):
            parallel.verify("now")
    parallel.free()


def test_an_unknown_all_reduce_is_refused(world, alone):
    """On a single rank too, which has nothing to sum."""
    for each in (world, alone):
        with pytest.raises(AgreedError, match="there is no all-reduce 'rnig'; there are ring,"):
            DataParallel(*make(), each, all_reduce="rnig")
