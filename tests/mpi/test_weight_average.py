"""Averages of weights as hooks: against all weights of a run, on any number of ranks, resumed, with batch norm."""

import numpy as np
import pytest

from mpitrain import Hook, Trainer
from mpitrain.errors import UserError
from mpitrain.training.hooks.weight_average import EMA, SWA

pytestmark = pytest.mark.mpi

SETTINGS = {"epochs": 4, "batch_size": 100, "progress": "none", "seed": 3, "schedule": "constant"}


class Kept(Hook):
    """All weights after each step."""

    def __init__(self):
        self.steps = []

    def step_end(self, info):
        self.steps.append(info.arena.values[: info.arena.size].copy())


def run(world, hooks, model="mlp:widths=12", **settings):
    trainer = Trainer(model, "digits", world=world, hooks=hooks, **(SETTINGS | settings))
    result = trainer.fit()
    return trainer, result


def exponential(steps, decay):
    average = np.zeros_like(steps[0], np.float64)
    for t, weights in enumerate(steps, 1):
        keep = 0.0 if t == 1 else min(decay, (1 + t) / (10 + t))
        average = keep * average + (1 - keep) * weights
    return average


@pytest.mark.parametrize("shard", ["none", "optimizer"])
@pytest.mark.parametrize("name", ["ema", "swa"])
def test_the_average_of_all_weights(world, name, shard):
    kept = Kept()
    hook = EMA(0.95) if name == "ema" else SWA(start=0.5)
    trainer, result = run(world, [kept, hook], shard=shard)
    steps = len(kept.steps)
    expected = exponential(kept.steps, 0.95)
    if name == "swa":  # of four epochs, the weights after the second, third and fourth
        expected = np.mean([kept.steps[steps * k // 4 - 1] for k in (2, 3, 4)], axis=0)
    np.testing.assert_allclose(trainer.setup.arena.values[: trainer.setup.arena.size], expected, atol=2e-6)
    assert trainer.evaluate()["loss"] == pytest.approx(result.test["loss"], rel=1e-6)
    plain = Kept()
    run(world, [plain], shard=shard)
    for mine, theirs in zip(kept.steps, plain.steps, strict=True):  # training does not see the average
        np.testing.assert_array_equal(mine, theirs)


def test_resumed_runs_have_the_same_average(world, directory):
    wanted, _ = run(world, [EMA(0.9)], out=str(directory / "whole"), checkpoint_every=7)
    first = Trainer(
        "mlp:widths=12",
        "digits",
        world=world,
        hooks=[EMA(0.9), StopAt(20)],
        out=str(directory / "parts"),
        checkpoint_every=7,
        **SETTINGS,
    )
    with pytest.raises(UserError, match="stopped here"):
        first.fit()
    world.barrier()
    second = Trainer(
        "mlp:widths=12",
        "digits",
        world=world,
        hooks=[EMA(0.9)],
        out=str(directory / "parts"),
        checkpoint_every=7,
        **SETTINGS,
    )
    second.fit(resume=True)
    np.testing.assert_array_equal(second.setup.arena.values, wanted.setup.arena.values)


class StopAt(Hook):
    """A failure on all ranks at a step."""

    def __init__(self, step):
        self.step = step

    def step_end(self, info):
        if info.step == self.step:
            raise UserError("stopped here")


def test_batch_norm_gets_statistics_of_the_average(world, alone):
    settings = {"model": "resnet8", "epochs": 2, "batch_size": 240, "shard": "none", "lr": 1e-4}
    mine, result = run(world, [SWA(start=0)], **settings)
    one, expected = run(alone, [SWA(start=0)], **settings)
    np.testing.assert_allclose(mine.setup.arena.states, one.setup.arena.states, rtol=1e-3, atol=1e-4)
    assert result.test["loss"] == pytest.approx(expected.test["loss"], rel=1e-4)
    plain, _ = run(world, [], **settings)
    assert np.abs(mine.setup.arena.states - plain.setup.arena.states).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"shard": "weights"}, "--shard weights"),
        ({"sync": "local:steps=2"}, "--sync local:steps=2"),
    ],
)
def test_what_cannot_be_averaged(world, settings, text):
    if world.size == 1:
        pytest.skip("one rank divides nothing")
    with pytest.raises(UserError, match=f"the hook ema averages weights, which is not possible with {text}"):
        run(world, ["ema"], **settings)


def test_wrong_options():
    for make, text in (
        (lambda: EMA(1.0), "the decay of ema"),
        (lambda: SWA(1.0), "start of swa"),
        (lambda: SWA(every=-1), "every -1"),
    ):
        with pytest.raises(UserError, match=text):
            make()
