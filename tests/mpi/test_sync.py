"""Methods of --sync: each gives what P optimizers give that are computed one after the other, by NumPy alone."""

import time

import numpy as np
import pytest

from mpitrain import models, optim
from mpitrain.arena import Arena
from mpitrain.comm.group import Group
from mpitrain.comm.remote_array import RemoteArray
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.sync.base import SyncParts
from mpitrain.parallel.sync.gossip import Gossip
from mpitrain.parallel.sync.local import Local
from mpitrain.parallel.sync.methods import SYNCS
from mpitrain.parallel.sync.server import Server

pytestmark = pytest.mark.mpi

LR, STEPS = 0.1, 7
ADAM, MOMENTUM, PLAIN = "adam:beta2=0.9", "sgd:momentum=0.9,weight_decay=0.01", "sgd"


def make(seed=3):
    model = models.build("mlp", (6,), 4, widths=(5,))
    return model, Arena(model.named_parameters(), model.named_states(), seed=seed, dtype=np.float64)


def batches(num_samples, steps=STEPS):
    """Return the batches of a training; with fewer samples than ranks some ranks have none."""
    rng = np.random.default_rng(num_samples)
    for step in range(steps):
        n = num_samples if step % 3 else max(1, num_samples // 2)
        yield rng.standard_normal((n, 6)), rng.integers(0, 4, n)


def train(group, sync, num_samples, optimizer=PLAIN, steps=STEPS, last=True):
    """Return the weights of this rank after each step, and the totals of the steps at which the ranks have met."""
    model, arena = make()
    parallel = DataParallel(model, arena, group, shard="none", sync=sync, all_reduce="ring")
    loss, ctx, rule = SoftmaxCrossEntropy(), Context(dtype=np.float64), optim.build(optimizer, arena)
    weights, totals = [], []
    for number, (x, y) in enumerate(batches(num_samples, steps), 1):
        mine = share(len(x), group.rank, group.size)
        with parallel.step(meet=last and number == steps) as step:
            step.add(loss.forward(model.forward(x[mine], ctx), y[mine], ctx))
            model.backward(loss.backward(ctx), ctx)
        parallel.update(rule, LR, 1 / parallel.divisor(step.totals.weight))
        weights.append(arena.values.copy())
        if parallel.meets:
            totals.append(tuple(step.totals))
            parallel.verify(f"after step {number}")
    parallel.free()
    return np.array(weights), np.array(totals), parallel.sync


class Simulated:
    """The ranks of a training, computed one after the other on this rank."""

    def __init__(self, size, optimizer):
        self.ranks = []
        for _ in range(size):
            model, arena = make()
            self.ranks.append((model, arena, optim.build(optimizer, arena), SoftmaxCrossEntropy()))
        self.weight = np.zeros(size)
        self.totals = np.zeros(3)

    @property
    def values(self):
        return np.array([arena.values for _, arena, _, _ in self.ranks])

    def step(self, x, y):
        """Make a step of each rank's own."""
        for rank, (model, arena, rule, loss) in enumerate(self.ranks):
            part, ctx = share(len(x), rank, len(self.ranks)), Context(dtype=np.float64)
            arena.begin_step()
            totals = loss.forward(model.forward(x[part], ctx), y[part], ctx)
            model.backward(loss.backward(ctx), ctx)
            if totals[0]:
                rule.step(LR, 1 / totals[0])
            else:
                rule.step_count += 1
            self.weight[rank] += totals[0]
            self.totals += totals

    def mean(self):
        return self.weight @ self.values / self.weight.sum()

    def meet(self, values):
        for _, arena, _, _ in self.ranks:
            arena.values[...] = values
        self.weight[:] = 0
        totals, self.totals = self.totals, np.zeros(3)
        return totals


def simulate(size, num_samples, optimizer, due, outer=lambda anchor, mean: mean, steps=STEPS):
    """Return the weights of all ranks after each step, (steps, size, n), and the totals at each meeting."""
    ranks = Simulated(size, optimizer)
    anchor, found, totals = ranks.values[0], [], []
    for number, (x, y) in enumerate(batches(num_samples, steps), 1):
        ranks.step(x, y)
        if due(number) or number == steps:
            anchor = outer(anchor, ranks.mean())
            totals.append(ranks.meet(anchor))
        found.append(ranks.values)
    return np.array(found), np.array(totals)


@pytest.mark.parametrize("optimizer", [PLAIN, MOMENTUM, ADAM])
@pytest.mark.parametrize("num_samples", [2, 13])
@pytest.mark.parametrize("steps", [1, 3])
def test_local_is_the_mean_of_local_optimizers(world, optimizer, num_samples, steps):
    found, totals, sync = train(world, f"local:steps={steps}", num_samples, optimizer)
    expected, sums = simulate(world.size, num_samples, optimizer, lambda number: number % steps == 0)
    np.testing.assert_allclose(found, expected[:, world.rank], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(totals, sums, rtol=1e-12)
    assert (sync.num_steps, sync.num_meetings) == (STEPS, len(sums))
    assert (sync.bytes_sent > 0) == (world.size > 1)


@pytest.mark.parametrize("sync", ["local:steps=1", "diloco:steps=1,lr=1,momentum=0", "post_local:steps=1,after=3"])
@pytest.mark.parametrize("num_samples", [2, 13])
def test_a_meeting_in_every_step_is_data_parallelism(world, alone, sync, num_samples):
    found, totals, _ = train(world, sync, num_samples)
    expected, sums, _ = train(alone, "every_step", num_samples)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(totals, sums, rtol=1e-12)


@pytest.mark.parametrize("optimizer", [PLAIN, ADAM])
def test_post_local_sums_gradients_at_first(world, alone, optimizer):
    found, _, sync = train(world, "post_local:steps=3,after=4", 13, optimizer, steps=4)
    expected, _, _ = train(alone, "every_step", 13, optimizer, steps=4)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert sync.num_meetings == 4
    weights, totals, sync = train(world, "post_local:steps=2,after=4", 13, optimizer)
    np.testing.assert_array_equal(totals[:, 0], [6, 13, 13, 6, 13 + 13, 6])  # each of 4 steps, two, and the last
    if world.size > 1:
        values = world.all_gather(weights[4])  # after the first step of a rank's own
        assert not np.array_equal(values[0], values[1])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("num_samples", [2, 13])
def test_diloco_makes_an_outer_step(world, momentum, num_samples):
    lr, velocity = 0.7, np.zeros(1)

    def outer(anchor, mean):
        nonlocal velocity
        d = anchor - mean
        velocity = momentum * velocity + d
        return anchor - lr * (d + momentum * velocity)

    found, _, sync = train(world, f"diloco:steps=2,lr={lr},momentum={momentum}", num_samples, MOMENTUM)
    expected, _ = simulate(world.size, num_samples, MOMENTUM, lambda number: number % 2 == 0, outer)
    np.testing.assert_allclose(found, expected[:, world.rank], rtol=1e-10, atol=1e-12)
    assert list(sync.slots) == ["momentum"] * (momentum > 0)


@pytest.mark.parametrize(
    "sync", ["local:steps=3", "post_local:steps=3,after=2", "gossip:meet=3", "daso:steps=3", "easgd:steps=2"]
)
@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAM])
def test_one_rank_is_plain_training(alone, sync, optimizer):
    found, _, _ = train(alone, sync, 5, optimizer)
    np.testing.assert_array_equal(found, train(alone, "every_step", 5, optimizer)[0])


@pytest.mark.parametrize(
    ("sync", "match"),
    [
        ("lokal", "there is no sync 'lokal'; did you mean 'local'"),
        ("local:steps=0", "the steps of --sync must be 1 or more"),
        ("local:step=3", "has no option 'step'"),
        ("diloco:momentum=1", r"must lie in \[0, 1\)"),
        ("diloco:lr=0", "must be above 0"),
        ("post_local:after=-1", "must be 0 or more"),
        ("gossip:graph=star", "must be exponential or ring"),
        ("gossip:meet=0", "must be 1 or more"),
        ("stale:meet=0", "must be 1 or more"),
        ("daso:team=-1", "must be 0 or more"),
        ("server:staleness=-1", "must be 0 or more"),
        ("easgd:rho=2", "must be above 0 and at most 1"),
    ],
)
def test_mistakes_are_one_sentence(world, sync, match):
    with pytest.raises(AgreedError, match=match):
        DataParallel(*make(), world, sync=sync)


class Uneven(Local):
    """Meets after other steps on other ranks, which is wrong."""

    def is_due(self, step, since):
        return since >= 2 + (self._group.rank == 1)


def test_ranks_that_meet_after_other_steps_are_found(world, monkeypatch):
    monkeypatch.setitem(SYNCS._functions, "uneven", Uneven)
    if world.size > 1:
        with pytest.raises(AgreedError, match="ranks meet after other steps than each other"):
            train(world, "uneven", 13)


def test_statistics_over_all_ranks_are_refused(world):
    model = models.build("resnet8", (8, 8, 3), 4)
    arena = Arena(model.named_parameters(), model.named_states())
    if world.size > 1:
        with pytest.raises(AgreedError, match="take --batch-norm local"):
            DataParallel(model, arena, world, sync="local:steps=2")
    DataParallel(model, arena, world, sync="local:steps=2", synchronize_batch_norm=False).free()


def combine(gradients):
    """Return the adaptive sum of all ranks' gradients, by the definition: pairs of neighbors, again and again."""
    whole = 1 << len(gradients).bit_length() - 1
    gradients = [
        pair(g, gradients[r + whole]) if r + whole < len(gradients) else g for r, g in enumerate(gradients[:whole])
    ]
    while len(gradients) > 1:
        gradients = [pair(a, b) for a, b in zip(gradients[::2], gradients[1::2], strict=True)]
    return gradients[0]


def pair(a, b):
    found = {}
    for name in a:
        x, y = a[name], b[name]
        dot = (x * y).sum()
        parts = [g * (1 - dot / (2 * (g * g).sum())) if g.any() else g for g in (x, y)]
        found[name] = parts[0] + parts[1]
    return found


@pytest.mark.parametrize("num_samples", [2, 13])
def test_adasum_combines_pairs_of_ranks(world, num_samples):
    found, totals, sync = train(world, "adasum", num_samples, MOMENTUM)
    ranks, expected = Simulated(world.size, MOMENTUM), []
    for x, y in batches(num_samples):
        gradients = []
        for rank, (model, arena, _, loss) in enumerate(ranks.ranks):
            part, ctx = share(len(x), rank, world.size), Context(dtype=np.float64)
            arena.begin_step()
            weight = loss.forward(model.forward(x[part], ctx), y[part], ctx)[0]
            model.backward(loss.backward(ctx), ctx)
            gradients.append({p.name: p.grad / max(1, weight) for p in arena.parameters})
        combined = combine(gradients)
        for _, arena, rule, _ in ranks.ranks:
            for p in arena.parameters:
                p.grad[...] = combined[p.name]
            rule.step(LR, 1)
        expected.append(ranks.values[0])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)
    assert [total[0] for total in totals] == [len(x) for x, _ in batches(num_samples)]
    assert (sync.bytes_per_step > 0) == (world.size > 1)


@pytest.mark.parametrize("graph", ["ring", "exponential"])
@pytest.mark.parametrize("num_samples", [2, 13])
def test_gossip_averages_with_one_rank_a_step(world, graph, num_samples):
    found, totals, sync = train(world, f"gossip:graph={graph},meet=5", num_samples, MOMENTUM)
    size = world.size
    ranks, expected = Simulated(size, MOMENTUM), []
    hops = [1] if graph == "ring" else [2**k for k in range(16) if 2**k < max(2, size)]
    for number, (x, y) in enumerate(batches(num_samples), 1):
        ranks.step(x, y)
        if number in (5, STEPS):
            ranks.meet(ranks.values.mean(axis=0))
        else:
            hop = hops[number % len(hops)]
            for (_, arena, _, _), values in zip(
                ranks.ranks, (ranks.values + np.roll(ranks.values, hop, axis=0)) / 2, strict=True
            ):
                arena.values[...] = values
        expected.append(ranks.values[world.rank])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert len(totals) == 2
    assert (sync.bytes_sent > 0) == (size > 1)


@pytest.mark.parametrize("graph", ["ring", "exponential"])
def test_gossip_keeps_the_weighted_mean(world, graph):
    """Push-sum: where ranks begin with other weights than 1, the mean of all is still the right one."""
    arena, size = make(seed=world.rank)[1], world.size
    sync = Gossip(SyncParts(arena, world.group("data"), "ring"), graph=graph)
    sync.plan()
    pushes = np.arange(1.0, size + 1) / np.arange(1.0, size + 1).mean()
    sync._push = pushes[world.rank]
    wanted = np.sum(
        [push * values for push, values in zip(pushes, world.all_gather(arena.values), strict=True)], axis=0
    )
    for step in range(1, 6):
        sync.prepare(step, meet=False)
        sync.between()
        found = np.sum(world.all_gather(sync._push * arena.values), axis=0)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
        assert sum(world.all_gather(sync._push)) == pytest.approx(size)
    sync._share = sync.share_of(0.0, 0.0)
    sync.meet()
    np.testing.assert_allclose(arena.values, wanted / size, rtol=1e-12, atol=1e-12)
    assert sync._push == 1
    sync.free()


@pytest.mark.parametrize("optimizer", [PLAIN, ADAM])
@pytest.mark.parametrize("num_samples", [2, 13])
def test_stale_updates_by_the_step_before(world, optimizer, num_samples):
    found, totals, _ = train(world, "stale:meet=4", num_samples, optimizer)
    ranks, expected = Simulated(1, optimizer), []
    (model, arena, rule, loss), late = ranks.ranks[0], None
    for number, (x, y) in enumerate(batches(num_samples), 1):
        arena.begin_step()
        ctx = Context(dtype=np.float64)
        loss.forward(model.forward(x, ctx), y, ctx)
        model.backward(loss.backward(ctx), ctx)
        now = arena.gradients.copy()
        now[0] = len(x)
        if number in (4, STEPS):
            arena.gradients[...] = now + late
            late = None
            rule.step(LR, 1 / arena.gradients[0])
        else:
            if late is not None:
                arena.gradients[...] = late
                rule.step(LR, 1 / late[0])
            late = now
        expected.append(arena.values.copy())
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    sizes = [len(x) for x, _ in batches(num_samples)]
    np.testing.assert_array_equal(totals[:, 0], [sum(sizes[:4]), sum(sizes[4:])])


@pytest.mark.parametrize("team", [1, 2, 9])
@pytest.mark.parametrize("num_samples", [2, 13])
def test_daso_sums_within_a_team(world, team, num_samples):
    found, totals, sync = train(world, f"daso:steps=3,team={team}", num_samples, MOMENTUM)
    size = world.size
    teams = [range(first, min(first + team, size)) for first in range(0, size, team)]
    ranks, expected, weight = Simulated(len(teams), MOMENTUM), [], np.zeros(len(teams))
    for number, (x, y) in enumerate(batches(num_samples), 1):
        for t, members in enumerate(teams):
            model, arena, rule, loss = ranks.ranks[t]
            part, ctx = (
                slice(share(len(x), members[0], size).start, share(len(x), members[-1], size).stop),
                Context(dtype=np.float64),
            )
            arena.begin_step()
            own = loss.forward(model.forward(x[part], ctx), y[part], ctx)[0]
            model.backward(loss.backward(ctx), ctx)
            if own:
                rule.step(LR, 1 / own)
            weight[t] += own
        if number % 3 == 0 or number == STEPS:
            ranks.meet(weight @ ranks.values / weight.sum())
            weight[:] = 0
        expected.append(ranks.values[world.rank // team])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    sizes = [len(x) for x, _ in batches(num_samples)]
    np.testing.assert_array_equal(totals[:, 0], [sum(sizes[:3]), sum(sizes[3:6]), sizes[6]])
    assert sync.num_meetings == 3


@pytest.mark.parametrize("num_samples", [2, 13])
def test_easgd_draws_ranks_toward_a_center(world, num_samples):
    found, totals, _ = train(world, "easgd:steps=2,rho=0.6,meet=5", num_samples, MOMENTUM)
    size, alpha = world.size, 0.6 / world.size
    ranks, expected = Simulated(size, MOMENTUM), []
    center = ranks.values[0]
    for number, (x, y) in enumerate(batches(num_samples), 1):
        ranks.step(x, y)
        since = number if number <= 5 else number - 5
        before, pull = center, alpha * (ranks.values - center).sum(axis=0)
        if size > 1 and number in (5, STEPS):
            center = before + pull
            ranks.meet(center)
        elif size > 1 and since % 2 == 0:
            center = before + pull
            for _, arena, _, _ in ranks.ranks:
                arena.values[...] -= alpha * (arena.values - before)
        expected.append(ranks.values[world.rank])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert len(totals) == 2


@pytest.mark.parametrize("staleness", [0, 3])
def test_a_server_adds_all_updates_once(world, monkeypatch, staleness):
    """The common weights have moved by the mean of all updates, and no rank was further ahead than it may be."""
    changes, ahead = [], []
    alone, between = Server._step_alone, Server.between

    def noted(self, *arguments):
        before = self._values.copy()
        alone(self, *arguments)
        changes.append(self._values - before)
        time.sleep(0.003 * (world.rank == world.size - 1))

    def watched(self):
        between(self)
        if self._clocks is not None:
            ahead.append(self._since - self._clocks.read(np.empty(world.size)).min())

    monkeypatch.setattr(Server, "_step_alone", noted)
    monkeypatch.setattr(Server, "between", watched)
    found, totals, _ = train(world, f"server:staleness={staleness},meet=5", 13, MOMENTUM)
    assert len(changes) == STEPS
    moved = np.mean(world.all_gather(np.sum(changes, axis=0)), axis=0)
    np.testing.assert_allclose(found[-1], make()[1].values + moved, rtol=1e-9, atol=1e-12)
    ends = world.all_gather(found[[4, STEPS - 1]])
    assert all(np.array_equal(end, ends[0]) for end in ends)
    assert max(ahead, default=0) <= staleness
    sizes = [len(x) for x, _ in batches(13)]
    np.testing.assert_array_equal(totals[:, 0], [sum(sizes[:5]), sum(sizes[5:])])
    if world.size == 1:
        np.testing.assert_array_equal(found, train(world, "every_step", 13, MOMENTUM)[0])


def test_arrays_that_all_ranks_add_to(world):
    for n in (0, 1, 5, 100):
        array = RemoteArray(world.group("data"), n, np.float64)
        array.set(np.arange(float(n)))
        for k in range(3):
            array.add(np.full(n, float(world.rank + k)))
        world.barrier()
        total = sum(rank + k for rank in range(world.size) for k in range(3))
        np.testing.assert_array_equal(array.read(np.empty(n)), np.arange(n) + total)
        world.barrier()
        array.free()


def test_gpus_are_refused(world, monkeypatch):
    monkeypatch.setattr(Group, "has_devices", True)
    with pytest.raises(AgreedError, match="--sync diloco computes on CPUs only: take --device cpu"):
        DataParallel(*make(), world, shard="none", sync="diloco")
