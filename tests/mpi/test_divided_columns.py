"""Tables divided among ranks by rows: forward and gradients of one rank with all samples, and what travels."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import UserError
from mpitrain.layers import ColumnEmbeddings, Linear, Sequential
from mpitrain.parallel.expert import DividedColumns, rules
from mpitrain.parallel.expert.deal import Places, deal
from tests.gpu.device import ShimDevice

pytestmark = pytest.mark.mpi

SIZES = (1500, 0, 7, 1024, 0, 2000)
DIMS = (3, 2, 3, 5)  # two tables of one width travel together, one alone, one is whole


@pytest.fixture
def group(world):
    return world.group("expert")


def draw(seed, n):
    rng = np.random.default_rng(seed)
    x = np.stack([rng.standard_normal(n) if not size else rng.zipf(1.3, n) % size for size in SIZES], axis=1)
    x[: n // 3, 0] = 1  # codes that many samples have
    return x, rng.standard_normal((n, 2 + sum(DIMS)))


def run(model, batches, dtype=np.float64):
    """Return y of the microbatches of a step after another one, dx, and the arena."""
    model.ask_dx(True)
    arena, ctx = Arena(model, seed=3, dtype=dtype), Context(dtype=dtype)
    for _ in range(2):
        results = []
        arena.begin_step(len(batches))
        for x, dy in batches:
            y = np.array(model.forward(x, ctx))
            results.append((y, np.array(model.backward(dy.copy(), ctx))))
    return results, arena


def parts_of(array, group, how):
    if how == "even":
        return array[share(len(array), group.rank, group.size)]
    return array if group.rank == group.size - 1 else array[:0]


@pytest.mark.parametrize("how", ["even", "all on the last"])
@pytest.mark.parametrize("n", [31, 1, 0])
def test_one_rank(group, how, n):
    batches = [draw(seed, n) for seed in (1, 2)]
    expected, arena = run(Sequential(ColumnEmbeddings(SIZES, DIMS)), batches)
    model = rules.divide(Sequential(ColumnEmbeddings(SIZES, DIMS)), group, (6,)).model
    found, part = run(model, [tuple(parts_of(a, group, how) for a in batch) for batch in batches])
    for mine, whole in zip(found, expected, strict=True):
        for a, b in zip(mine, whole, strict=True):
            np.testing.assert_array_equal(a, parts_of(b, group, how))
    assert [p.name for p in part.parameters] == [p.name for p in arena.parameters]
    for p, one in zip(part.parameters, arena.parameters, strict=True):
        values, gradient = (one.data, one.grad) if p.shard is None else map(p.shard.take, (one.data, one.grad))
        np.testing.assert_array_equal(p.data, values)
        assert p.shard is not None or len(one.data) == 7
        summed = group.sum(p.grad.copy()) if p.shard is None else p.grad
        np.testing.assert_allclose(summed, gradient, 1e-12, 1e-12, err_msg=p.name)


def test_each_row_travels_once(group):
    """Bytes follow the different codes of the samples, not their number, and not the rows of the tables."""
    sent = []
    for size, repeats in ((5000, 1), (5000, 9), (200_000, 1)):
        layer = DividedColumns(group, ColumnEmbeddings((size,), 8))
        arena, ctx = Arena(layer, dtype=np.float32), Context()
        codes = np.random.default_rng(group.rank).permutation(5000)[:600]
        x = np.tile(codes * (size // 5000), repeats)[:, None]
        before = layer.bytes_sent
        arena.begin_step()
        layer.backward(layer.forward(x, ctx).copy(), ctx)
        sent.append(group.all_gather(layer.bytes_sent - before))
    rows = 600 * (group.size - 1)  # asked for by all ranks, of others
    least, most = rows * (8 + 2 * 4 * 8), sum(sent[0])
    assert least <= most <= 1.35 * least + 200 * group.size**2 * 72
    assert sent[1] == sent[0]
    np.testing.assert_allclose(sum(sent[2]), most, rtol=0.1)


def test_frozen_tables_send_no_gradients(group):
    layer = DividedColumns(group, ColumnEmbeddings((3000, 3000), 4))
    for _, p in layer.named_parameters():
        p.frozen = True
    ctx = Context()
    Arena(layer)
    y = layer.forward(np.full((5, 2), group.rank), ctx)
    before = layer.bytes_sent
    layer.backward(y.copy(), ctx)
    assert layer.bytes_sent == before


def test_codes_outside_of_a_table(group):
    layer = DividedColumns(group, ColumnEmbeddings((2000,), 4))
    Arena(layer)
    with pytest.raises(UserError, match=r"2000, but the embedding has rows 0 to 1999"):
        layer.forward(np.array([[2000]]), Context())


def test_rules(group):
    model = Sequential(ColumnEmbeddings(SIZES, DIMS), Linear(15, 2))
    rules.check(model, group.size, (6,))
    names = [(name, p.shape) for name, p in model.named_parameters()]
    found = rules.divide(model, group, (6,))
    assert found.gives_whole_outputs
    assert [name for name, _ in found.model.named_parameters()] == [name for name, _ in names]
    rows = group.all_gather([p.shape[0] for _, p in found.model.named_parameters()])
    assert np.sum(rows, axis=0)[[0, 2, 3]].tolist() == [1500, 1024, 2000]
    with pytest.raises(UserError, match=r"no experts to divide .* from 1024 rows on"):
        rules.check(Sequential(ColumnEmbeddings((1023, 5), 3)), 2, (2,))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 64])
def test_dealt_rows(size):
    """Each row is on one rank, ranks have as many, and under Zipf's law nearly as many are asked for."""
    for num_rows in (0, 1, 5, 1024, 100_003):
        dealt = deal(num_rows, size, first=3)
        counts = [sum(stop - start for start, stop in ranges) for ranges in dealt]
        assert max(counts) - min(counts) <= 1
        rows = np.concatenate([np.arange(start, stop) for ranges in dealt for start, stop in ranges] or [[]])
        assert sorted(rows.tolist()) == list(range(num_rows))
    places = Places([deal(5000, size), deal(100_003, size, 1)])
    rank, place = places.find(np.arange(105_003))
    for each in range(size):
        assert place[rank == each].tolist() == list(range((rank == each).sum()))
    asked = 1 - np.exp(-1000 / np.arange(1, 100_004))  # the chance that 1000 samples need a row
    loads = np.bincount(rank[5000:], asked, size)
    assert loads.max() < 1.05 * loads.mean()


def test_devices_are_refused(group):
    layer = DividedColumns(group, ColumnEmbeddings((2000,), 4))
    Arena(layer)
    with pytest.raises(UserError, match="embedding tables are divided in the memory of CPUs only"):
        layer.forward(ShimDevice().from_host(np.array([[1]])), Context())
