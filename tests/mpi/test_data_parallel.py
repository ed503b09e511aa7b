"""Data parallelism: the gradients of any split are those of the whole batch, and equal on all ranks."""

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import SGD
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


@pytest.mark.parametrize(
    ("name", "shape", "num_samples"),
    [("resnet8", (8, 8, 3), 9), ("resnet8", (8, 8, 3), 2), ("resnet:blocks=2+1,widths=8+12,stem=4", (19, 16, 3), 5)],
)
def test_synchronised_batch_norm(world, alone, name, shape, num_samples):
    rng = np.random.default_rng(num_samples)
    x, y = rng.standard_normal((num_samples, *shape)), rng.integers(0, 4, num_samples)
    results = []
    for w in (world, alone):
        model, arena = make(name=name, shape=shape)
        results.append((gradients(w, model, arena, x, y), arena.states.copy()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-10, atol=1e-10)


def test_rank_zero_gives_the_first_weights(world):
    model, arena = make(seed=world.rank)
    DataParallel(model, arena, world).free()
    expected = make(seed=0)[1].values
    np.testing.assert_array_equal(arena.values, expected)


@pytest.mark.parametrize(("stages", "named"), [([], "rank {}"), ([2], r"stage 2 \(rank {}\)"),
                                              ([1, 3], r"rank {} \(stages 1 and 3\)")])  # fmt: skip
def test_differing_weights_are_named(world, stages, named):
    model, arena = make()
    parallel = DataParallel(model, arena, world, shard="none")
    world.ledger.name_stages(stages)
    parallel.verify("now")
    if world.size > 1:
        if world.rank == world.size - 1:
            arena.parameters[1].data.flat[0] += 1
        odd, name = named.format(world.size - 1), arena.parameters[1].name
        match = rf"the weights of {odd} differ from those of rank \d now: {name}"
        with pytest.raises(AgreedError, match=match):
            parallel.verify("now")
    world.ledger.name_stages([])
    parallel.free()


@pytest.mark.parametrize("shard", ["none", "auto"])
def test_an_axis_of_some_ranks(world, alone, shard):
    """Two halves of the job train networks of their own, each on a batch of its own."""
    half = world.group("data", MPI.COMM_WORLD.Split(world.rank % 2))
    color = world.rank % 2
    rng = np.random.default_rng(color)
    x, y = rng.standard_normal((7, 6)), rng.integers(0, 4, 7)
    results = []
    for group in (half, alone):
        model, arena = make(seed=color)
        parallel, loss, ctx = (
            DataParallel(model, arena, group, shard=shard),
            SoftmaxCrossEntropy(),
            Context(dtype=np.float64),
        )
        mine = share(len(x), group.rank, group.size)
        with parallel.step() as step:
            step.add(loss.forward(model.forward(x[mine], ctx), y[mine], ctx))
            model.backward(loss.backward(ctx), ctx)
        norm = parallel.norm()
        parallel.update(SGD(arena), 0.1, 1 / step.totals.weight)
        parallel.free()
        results.append((norm, step.totals.loss, arena.values.copy()))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    values = world.all_gather(results[0][2])
    assert all(np.array_equal(each, values[rank % 2]) for rank, each in enumerate(values))


def test_messages_name_ranks_of_the_job(world):
    if world.size < 4:
        pytest.skip("two axes of two ranks")
    half = world.group("data", MPI.COMM_WORLD.Split(world.rank % 2))
    model, arena = make()
    parallel = DataParallel(model, arena, half, shard="none")
    if half.rank == 1:
        arena.parameters[0].data.flat[0] += 1
    first, second = half.world_ranks[:2]
    assert second == first + 2
    with pytest.raises(AgreedError, match=rf"the weights of rank ({first}|{second}) differ from those of rank "):
        parallel.verify("now")
    parallel.free()
    with pytest.raises(AgreedError, match=f"rank {second} has built another model than rank {first}: its "):
        DataParallel(*make(widths=(3 + half.rank,)), half)


def test_an_unknown_all_reduce_is_refused(world, alone):
    """On a single rank too, which has nothing to sum."""
    for each in (world, alone):
        with pytest.raises(AgreedError, match="there is no all-reduce 'rnig'; there are ring,"):
            DataParallel(*make(), each, all_reduce="rnig")
