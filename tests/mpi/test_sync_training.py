"""Training with --sync: requests, NaN, checkpoints, checks and figures wait for meetings, and are right there."""

import json
from pathlib import Path

import numpy as np
import pytest

from mpitrain import BatchNorm2d, Flatten, Hook, Linear, LocalSteps, ReLU, Sequential, Trainer
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError

pytestmark = pytest.mark.mpi

OPTIONS = {"epochs": 2, "progress": "none", "batch_size": 100, "lr": 0.05}  # 15 steps an epoch
LAST_STEP = 30


def net(input_shape, num_outputs):
    return Sequential(BatchNorm2d(input_shape[-1]), Flatten(), Linear(64, 8), ReLU(), Linear(8, num_outputs))


def trainer(world, model="mlp:widths=16", **settings):
    return Trainer(model, "digits", world=world, **OPTIONS | settings)


def figures(result):
    return [(each.step, each.train, each.test) for each in result.evaluations]


class Ask(Hook):
    """Requests something in a step, on the last rank."""

    def __init__(self, step, name):
        self._step, self._name = step, name

    def step_begin(self, info):
        if info.step == self._step and info.rank == info.group.size - 1:
            setattr(info.run.requests, self._name, True)


class Log(Hook):
    """Keeps the facts of each step."""

    def __init__(self):
        self.steps, self.saved = [], []

    def step_end(self, info):
        self.steps.append((info.step, info.local, info.totals.weight, info.skipped))

    def checkpoint_begin(self, info):
        self.saved.append(info.step)


class Slots(Hook):
    """Keeps copies of all slots at an event."""

    def __init__(self, event):
        self._event = event

    def train_begin(self, info):
        self._keep(info, "train_begin")

    def train_end(self, info):
        self._keep(info, "train_end")

    def _keep(self, info, event):
        if event == self._event:
            self.slots = {name: slot.copy() for name, slot in info.run.tensors.slots.items()}


class Poison(Hook):
    """Makes the samples of some steps NaN, on the last rank."""

    def __init__(self, steps):
        self._steps = steps

    def step_begin(self, info):
        if info.step in self._steps and info.rank == info.group.size - 1:
            info.batches[0].x[...] = np.nan


@pytest.fixture
def few(world):
    """Skip a test of many files and steps on many ranks, which share the cores of a test machine."""
    if world.size > 4:
        pytest.skip("the same on a few ranks")


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("sync", "model", "optimizer", "step", "met"),
    [
        ("local:steps=4", "mlp:widths=16", "adam", 7, 8),
        ("diloco:steps=4", net, "sgd", 15, 15),
        ("post_local:steps=4,after=6", "mlp:widths=16", "sgd", 7, 10),
    ],
)
def test_a_run_is_continued_to_the_bit(world, directory, sync, model, optimizer, step, met):
    settings = {"sync": sync, "batch_norm": "local", "optimizer": optimizer}
    whole = trainer(world, model, **settings)
    expected = whole.fit()
    out = str(directory / "run")
    first = trainer(world, model, out=out, hooks=[Ask(step, "preempt")], **settings).fit(resume=True)
    assert (first.steps, first.stopped) == (met, True)
    world.barrier()
    again = trainer(world, model, out=out, **settings)
    result = again.fit(resume=True)
    np.testing.assert_array_equal(again.setup.arena.values, whole.setup.arena.values)
    assert figures(result) == figures(expected)
    assert again.evaluate() == expected.test


@pytest.mark.usefixtures("few")
def test_another_number_of_ranks_continues(world, alone, directory):
    """Slots that each rank had become their mean; the outer slots and the weights are those of the checkpoint."""
    out, settings = str(directory / "run"), {"sync": "diloco:steps=4", "optimizer": "adam", "lr": 0.01}
    before, after = Slots("train_end"), Slots("train_begin")
    trainer(world, out=out, hooks=[Ask(7, "preempt"), before], **settings).fit(resume=True)
    every = world.all_gather(before.slots)
    with pytest.raises(AgreedError, match=r"--sync is every_step, but .* was written with diloco:steps=4"):
        trainer(world, out=out, **settings | {"sync": "every_step"}).fit(resume=True)
    if world.rank == 0:
        result = trainer(alone, out=out, hooks=[after], **settings).fit(resume=True)
        assert (result.steps, result.stopped) == (LAST_STEP, False)
        assert result.test["accuracy"] > 0.5
        assert set(after.slots) == {"optimizer.m.", "optimizer.v.", "sync.momentum."}
        for name, slot in after.slots.items():
            np.testing.assert_allclose(slot, np.mean([slots[name] for slots in every], axis=0), rtol=1e-5, atol=1e-9)
        assert world.size == 1 or not np.array_equal(every[0]["optimizer.m."], every[1]["optimizer.m."])
        assert all(np.array_equal(each["sync.momentum."], every[0]["sync.momentum."]) for each in every)
    world.barrier()


def test_figures_are_those_of_all_samples(world):
    log = Log()
    result = trainer(world, sync="local:steps=4", hooks=[log]).fit()
    meetings = [step for step, local, _, _ in log.steps if not local]
    assert meetings == [4, 8, 12, 15, 19, 23, 27, 30]  # and at the end of each epoch
    samples = [weight for _, local, weight, _ in log.steps if not local]
    assert samples[:4] == [400, 400, 400, 237]
    assert result.train["accuracy"] > 0.5
    every = trainer(world, sync="local:steps=1", momentum=0.0).fit()
    expected = trainer(world, momentum=0.0).fit()
    for found, wanted in zip(every.evaluations, expected.evaluations, strict=True):
        assert found.train == pytest.approx(wanted.train, abs=1e-5)
        assert found.test == pytest.approx(wanted.test, abs=1e-5)


def test_ranks_meet_before_an_evaluation(world):
    """Also in the middle of an epoch; the periods begin anew there."""
    log = Log()
    each = trainer(world, sync="easgd:steps=2,meet=4", hooks=[log], evaluate_every=10)
    result = each.fit()
    assert [step for step, local, _, _ in log.steps if not local] == [4, 8, 10, 14, 15, 19, 20, 24, 28, 30]
    assert [evaluation.step for evaluation in result.evaluations] == [10, 20, 30]
    assert each.evaluate() == result.test


def test_requests_wait_for_the_next_meeting(world, directory):
    log = Log()
    hooks = [Ask(5, "save"), Ask(18, "stop"), log]
    out = str(directory / "run")
    result = trainer(world, sync="local:steps=4", hooks=hooks, out=out, checkpoint_every=6).fit()
    assert (result.steps, result.stopped) == (19, True)
    assert log.saved == [8, 12, 19, 19][: len(log.saved)]
    report = json.loads(Path(out, "report.json").read_text())
    assert report["sync"]["meetings"] == 5
    lines = [json.loads(line) for line in Path(out, "metrics.jsonl").read_text().splitlines()]
    local = [line["step"] for line in lines if line.get("local")]
    assert local == [step for step, alone, _, _ in log.steps if alone]


@pytest.mark.parametrize(
    ("sync", "step"),
    [
        ("local:steps=4", 2),
        ("local:steps=4", 4),
        ("post_local:steps=4,after=4", 4),
        ("gossip:meet=4", 3),
        ("stale:meet=4", 2),
        ("daso:steps=4,team=2", 3),
        ("server:meet=4", 3),
        ("adasum", 4),
    ],
)
def test_a_nan_of_one_rank_ends_all_at_the_next_meeting(world, sync, step):
    log, where = Log(), f"on rank {world.size - 1}"
    with pytest.raises(AgreedError, match=rf"became nan in step {step}: {where} .* try a smaller --lr"):
        trainer(world, sync=sync, hooks=[Poison([step]), log]).fit()
    assert len(log.steps) == 3


@pytest.mark.usefixtures("few")
def test_a_delay_of_one_step_is_the_same_on_any_number_of_ranks(world, alone):
    settings = {"sync": "stale:meet=8", "clip_norm": 0.5, "check_every": 3}
    found, expected = (trainer(ranks, **settings).fit() for ranks in (world, alone))
    for mine, theirs in zip(found.evaluations, expected.evaluations, strict=True):
        assert mine.train == pytest.approx(theirs.train, abs=1e-4)
        assert mine.test == pytest.approx(theirs.test, abs=1e-4)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("sync", ["gossip:meet=4", "stale:meet=4", "daso:steps=4,team=2", "easgd:steps=3,meet=4"])
def test_any_method_continues_to_the_bit(world, directory, sync):
    settings = {"sync": sync, "epochs": 1}
    whole = trainer(world, **settings)
    whole.fit()
    out = str(directory / "run")
    assert trainer(world, out=out, hooks=[Ask(6, "preempt")], **settings).fit(resume=True).steps == 8
    world.barrier()
    again = trainer(world, out=out, **settings)
    again.fit(resume=True)
    np.testing.assert_array_equal(again.setup.arena.values, whole.setup.arena.values)


def test_a_nan_of_one_rank_is_left_out(world):
    log = Log()
    settings = {"sync": "local:steps=4", "batch_norm": "local", "non_finite": "skip"}
    each = trainer(world, net, hooks=[Poison([2, 3, 4]), log], **settings)
    result = each.fit()
    assert result.skipped == 3
    assert np.isfinite(each.setup.arena.values).all()
    assert np.isfinite(each.setup.arena.states).all()
    assert result.test["accuracy"] > 0.2
    weights = [weight for _, local, weight, _ in log.steps if not local]
    last = share(100, world.size - 1, world.size)
    assert weights[0] == 400 - 3 * (last.stop - last.start)
    with pytest.raises(AgreedError, match="had 10 such steps in a row"):
        trainer(world, sync="local:steps=12", hooks=[Poison(range(2, 12))], non_finite="skip").fit()


def test_weights_that_differ_after_a_meeting_are_found(world, monkeypatch):
    """A mean that is wrong on one rank is found by the next check, which waits for a meeting."""
    from mpitrain.parallel.sync.local import Local

    if world.size == 1:
        return

    def wrong(self, values, mean):
        np.multiply(mean, 1 + 1e-3 * (self._group.rank == 1), out=values)

    monkeypatch.setattr(Local, "use_mean", wrong)
    with pytest.raises(AgreedError, match=r"the weights of rank \d differ from those of rank \d after step 8"):
        trainer(world, sync="local:steps=4", check_every=5).fit()


def test_the_mean_of_running_statistics(world, monkeypatch):
    found, average = [], LocalSteps.average_states

    def noted(self):
        before = self._arena.states.copy()
        average(self)
        found.append((before, self._share, self._arena.states.copy()))

    monkeypatch.setattr(LocalSteps, "average_states", noted)
    trainer(world, net, sync="local:steps=4", batch_norm="local").fit()
    for meetings in zip(*world.all_gather(found), strict=True):
        mean = sum(share * before for before, share, _ in meetings)
        for _, _, after in meetings:
            np.testing.assert_allclose(after, mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"sync": "local:steps=0"}, "the steps of --sync must be 1 or more, but they are 0"),
        ({"sync": "dilocal"}, "there is no sync 'dilocal'; did you mean"),
        ({"sync": "local", "shard": "optimizer"}, "--sync local does not go with --shard optimizer"),
        ({"sync": "gossip", "reproducible": 16}, "--sync gossip does not go with --reproducible"),
        ({"sync": "local", "mesh": "pipe=0"}, "needs the whole model on every rank: leave --mesh pipe out"),
        ({"sync": "stale", "model": net}, "in every step: take --batch-norm local"),
    ],
)
def test_settings_that_do_not_go_together(world, settings, match):
    if world.size == 1 and ("mesh" in settings or "model" in settings):
        return  # one rank is no pipeline, and its own samples are all
    if "mesh" in settings:
        settings = {**settings, "mesh": f"pipe={world.size}"}
    with pytest.raises(AgreedError, match=match) as caught:
        trainer(world, settings.get("model", "mlp"), **{k: v for k, v in settings.items() if k != "model"}).fit()
    assert caught.value.code == 2
