"""Hooks of a user: what they see, what they may request, and how one that fails ends the run."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Run
from mpitrain.errors import AgreedError, UserError
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.hooks import Hook, HookError, Hooks, StepInfo
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi

CONFIG = Config(data=Data(batch_size=360), model=Model(name="mlp", widths=(8,)), run=Run(epochs=3))
STEPS = 4  # of an epoch


def train(world, *hooks, config=CONFIG):
    loop = make_loop(config, open_setup(config, world), world, Silent(None, 1), hooks=hooks)
    try:
        loop.train()
    finally:
        loop.run.data_parallel.free()
    return loop.run


class Log(Hook):
    def __init__(self):
        self.events = []

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name in ("events", "ranks") or name.startswith("__"):
            return method

        def noted(info, *error):
            self.events.append((name, info.step, info.epoch))
            return method(info, *error)

        return noted


for event in ("train_begin", "epoch_begin", "step_begin", "gradients_ready", "step_end", "evaluate_end", "epoch_end"):
    setattr(Log, event, lambda self, info: None)
Log.train_end = lambda self, info: None


def test_the_order_of_events(world):
    log = Log()
    train(world, log, config=dataclasses.replace(CONFIG, run=Run(epochs=1)))
    steps = [(name, step, 1) for step in range(1, STEPS + 1) for name in ("step_begin", "gradients_ready", "step_end")]
    after = [("evaluate_end", STEPS, 1), ("epoch_end", STEPS, 1), ("train_end", STEPS, 2)]
    assert log.events == [("train_begin", 0, 1), ("epoch_begin", 0, 1), *steps, *after]


class Facts(Hook):
    def __init__(self):
        self.seen = []

    def gradients_ready(self, info):
        assert info.totals.weight == 360 or info.step % STEPS == 0
        squares = np.square(info.arena.gradients[16:].astype(np.float64)).sum()
        self.seen.append((info.norm, squares**0.5))

    def step_end(self, info):
        assert isinstance(info, StepInfo)
        assert info.rank == info.group.rank
        assert info.loss == info.totals.loss / info.totals.weight
        assert info.optimizer.step_count == info.step
        assert sum(len(batch) for batch in info.batches) <= 360
        assert info.times.total > 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            info.step = 3

    def evaluate_end(self, info):
        assert info.result.test["accuracy"] == info.run.results.evaluations[-1].test["accuracy"]
        assert info.result.train == info.train


def test_facts(world):
    facts = Facts()
    config = dataclasses.replace(CONFIG, parallel=dataclasses.replace(CONFIG.parallel, shard="none"))
    train(world, facts, config=config)
    assert len(facts.seen) == 3 * STEPS
    norms = np.array(facts.seen)
    np.testing.assert_allclose(norms[:, 0], norms[:, 1], rtol=1e-5)


@pytest.mark.parametrize("event", ["step_begin", "gradients_ready", "step_end"])
def test_one_rank_stops_all(world, event):
    class Stop(Hook):
        pass

    def stop(self, info):
        if info.step == 2 and info.rank == info.group.size - 1:
            info.stop()

    setattr(Stop, event, stop)
    run = train(world, Stop())
    assert run.stopped
    assert run.step == (2 if event == "step_begin" else 3)
    assert len(run.results.evaluations) == 1


@pytest.mark.parametrize("event", ["evaluate_end", "epoch_end"])
def test_a_stop_at_the_end_of_an_epoch(world, event):
    class Stop(Hook):
        ranks = "first"

    setattr(Stop, event, lambda self, info: info.stop() if info.epoch == 2 else None)
    run = train(world, Stop())
    assert run.stopped
    assert run.step == 2 * STEPS
    assert len(run.results.evaluations) == 2


def test_first_rank_only(world):
    class Count(Hook):
        ranks = "first"
        calls = 0

        def step_end(self, info):
            assert info.rank == 0
            self.calls += 1

    count = Count()
    train(world, count)
    assert count.calls == (3 * STEPS if world.rank == 0 else 0)


def test_a_step_is_left_out(world):
    class LeaveOut(Hook):
        values, skipped = None, ()

        def gradients_ready(self, info):
            self.values = info.arena.values.copy()
            return "it is the third" if info.step == 3 else None

        def step_end(self, info):
            if info.skipped:
                self.skipped = *self.skipped, (info.step, info.skipped)
            assert np.array_equal(self.values, info.arena.values) == bool(info.skipped)

    hook = LeaveOut()
    config = dataclasses.replace(CONFIG, parallel=dataclasses.replace(CONFIG.parallel, shard="none"))
    run = train(world, hook, config=config)
    assert hook.skipped == ((3, "it is the third"),)
    assert run.results.skipped == 1


class Failing(Hook):
    def __init__(self, error):
        self._error = error

    def step_end(self, info):
        if info.step == 2:
            raise self._error

    def exception(self, info, error):
        self.caught = error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            KeyError("x"),
            HookError,
            r"the hook Failing failed in step_end, step 2: KeyError: 'x' \(.*_hooks.py, line",
        ),
        (UserError("no disk"), HookError, r"the hook Failing: no disk \(in step_end, step 2\)"),
        (AgreedError("all know"), AgreedError, "the hook Failing: all know"),
    ],
)
def test_a_hook_that_fails_is_named(world, error, kind, text):
    hook = Failing(error)
    with pytest.raises(kind, match=text) as raised:
        train(world, hook)
    assert hook.caught is raised.value
    assert raised.value.__cause__ is error


def test_hooks_change_no_bits(world):
    weights = [train(world, *hooks).setup.arena.values.copy() for hooks in ((), (Facts(), Log()))]
    np.testing.assert_array_equal(*weights)


def test_all_ranks_know_of_a_hook_on_the_first_that_looks_at_gradients(world):
    """Or one rank would update its weights in another way than the others."""

    class OnFirst(Hook):
        ranks = "first"

        def gradients_ready(self, info):
            return None

    class Guard(OnFirst):
        decides = False

    assert Hooks([OnFirst()], world.rank).decide()
    assert not Hooks([Guard(), Hook()], world.rank).decide()
