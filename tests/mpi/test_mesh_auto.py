"""Meshes that are chosen: all ranks take the same one, and train as with that mesh given by hand."""

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.collectives.price import Calibration
from mpitrain.comm.axes import fit
from mpitrain.config import Config, Parallel
from mpitrain.errors import AgreedError
from mpitrain.planning import Strategy
from mpitrain.training.mesh import auto
from mpitrain.training.mesh.offer import wish_of

pytestmark = pytest.mark.mpi

MODEL, SOURCE = "mlp:widths=24+16+12", "digits"
COMMON = {"steps": 4, "batch_size": 48, "threads": 1, "progress": "none"}


@pytest.fixture
def line(monkeypatch):
    """Messages of a textbook's machine, in place of some seconds of measurements."""
    monkeypatch.setattr(auto, "_calibrate", lambda world: Calibration.line(1e-5, 1e-9, 1e-10))


def test_choice_is_the_same_on_all_ranks_and_has_reasons(world, line):
    before = len(world.notes)
    trainer = Trainer(MODEL, SOURCE, world=world, mesh="auto", **COMMON)
    chosen = trainer.config.parallel.mesh
    assert set(world.all_gather(chosen)) == {chosen}
    assert np.prod(list(fit(chosen, world.size).values())) == world.size
    notes = world.notes[before:]
    assert notes[0].startswith("--mesh auto: ")
    if world.size > 1:
        assert notes[0].startswith(f"--mesh auto: {chosen}; ")
        assert sum("predicted" in line and "measured" in line for line in notes) >= 2
        assert any(f" data={world.size}" in line for line in notes)  # what a run without --mesh does is tried, too
    losses = trainer.fit()
    by_hand = Trainer(
        MODEL,
        SOURCE,
        world=world,
        mesh=chosen,
        pipeline=trainer.config.parallel.pipeline,
        accumulate=trainer.config.optimizer.accumulate,
        **COMMON,
    ).fit()
    assert losses.test == pytest.approx(by_hand.test, rel=1e-5)


def test_the_fastest_trial_wins_and_one_that_fails_is_named(world, monkeypatch, line):
    if world.size == 1:
        pytest.skip("one rank has nothing to choose")
    tried = []

    def time_mesh(config, world, device, own, predicted):
        tried.append(config.parallel.mesh)
        return (0.0, "out of luck") if len(tried) == 1 else (1.0 / len(tried), "")

    monkeypatch.setattr(auto, "time_mesh", time_mesh)
    before = len(world.notes)
    trainer = Trainer(MODEL, SOURCE, world=world, mesh="auto", **COMMON)
    assert trainer.config.parallel.mesh == tried[-1]
    assert "does not run: out of luck" in "\n".join(world.notes[before:])


def test_rules_of_training_decide(world):
    trainer = Trainer(MODEL, SOURCE, world=world, **COMMON)
    dataset, model = trainer.setup.dataset, trainer.setup.model
    allows = wish_of(Config(), dataset, model, world).allows
    assert allows(Strategy(data=2))
    assert allows(Strategy(pipe=2, microbatches=2))
    assert not allows(Strategy(pipe=64, microbatches=64))  # there are fewer layers
    assert not allows(Strategy(expert=2))
    assert allows(Strategy(data=2, shard=3))
    assert not allows(Strategy(data=2, pipe=2, microbatches=2, shard=3))
    often = Config(parallel=Parallel(sync="local"))
    assert not wish_of(often, dataset, model, world).allows(Strategy(pipe=2, microbatches=2))


def test_a_mesh_that_fits_nothing_says_the_nearest(world, monkeypatch, line):
    if world.size == 1:
        pytest.skip("one rank has nothing to choose")
    monkeypatch.setattr("mpitrain.training.mesh.plan_here.free_memory", lambda: 1e4)
    with pytest.raises(AgreedError, match=r"--mesh auto: nothing fits into the .* of a rank; the nearest, .* needs"):
        Trainer(MODEL, SOURCE, world=world, mesh="auto", **COMMON)
