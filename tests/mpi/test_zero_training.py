"""Whole runs with ZeRO stages 2 and 3: scores, weights, checkpoints and findings of one rank; slots in files."""

import dataclasses
import os

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.arena import HEADER
from mpitrain.config import Checkpoint, Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.errors import AgreedError
from mpitrain.training import checkpoint as checkpoints
from mpitrain.training.build import make_loop
from mpitrain.training.directory.resume import restore
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.lr_finder import find_rates
from mpitrain.training.scoring import evaluation
from mpitrain.training.setup import open_setup, resolved

pytestmark = pytest.mark.mpi

CONFIG = Config(
    data=Data(source="digits", batch_size=200),
    model=Model(name="mlp", widths=(20, 12)),
    optimizer=Optimizer(name="adam", lr=0.01, accumulate=2, clip_norm=0.5),
    checkpoint=Checkpoint(every="3"),
    run=Run(epochs=1),
)
SHARDS = {
    "none": Parallel(shard="none"),
    "gradients": Parallel(shard="gradients"),
    "weights": Parallel(shard="weights", gather_weights="twice", bucket_mb=0.004),
}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    """So that the ranks have different numbers of batches in an evaluation."""
    monkeypatch.setattr(evaluation, "BATCH", 13)


def open_loop(world, shard, path=None, **branches):
    config = dataclasses.replace(CONFIG, parallel=SHARDS[shard], **branches)
    setup = open_setup(config, world, divided=True)
    config = resolved(config, setup)
    return make_loop(config, setup, world, Silent(None, 1), run_path=path), setup


def weights_of(loop):
    with loop.run.data_parallel.whole_weights():
        return {name: np.array(view) for name, view in loop.run.setup.arena.named_tensors().items()}


def result_of(loop):
    evaluated = loop.run.results.evaluations[-1]
    return {"train": evaluated.train["loss"], **evaluated.test}, weights_of(loop)


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    for name, value in expected[1].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("shard", ["gradients", "weights"])
def test_runs_and_checkpoints(world, alone, directory, shard):
    """Any division resumes what any division wrote, and its files are the same."""
    loop, setup = open_loop(world, shard, directory / shard)
    if shard == "weights" and world.size > 1:
        kept = sum(part.stop - part.start for part in setup.arena.divided)
        assert abs(kept * world.size - setup.arena.num_values + HEADER) <= 8 * world.size
        assert np.count_nonzero(setup.arena.values) <= setup.arena.num_values  # readable, though not all of it is right
    loop.train()
    found = result_of(loop)
    one, _ = open_loop(alone, "none")
    one.train()
    expected = result_of(one)
    assert_same(found, expected)
    world.barrier()
    loop.run.data_parallel.free()
    files = checkpoints.folder.newest_first(directory / shard / "checkpoints")
    path = checkpoints.folder.path_of_step(directory / shard / "checkpoints", 6)
    assert path in files
    for other in SHARDS:
        again, _ = open_loop(world, other)
        saved = checkpoints.Checkpoint(path)
        saved.verify(world.rank, world.size)
        restore(again.run, saved)
        again.train()
        assert again.run.step > 6
        assert_same(result_of(again), expected)
        again.run.data_parallel.free()


def test_a_trainer_has_whole_weights(world, tmp_path):
    options = {"model": "mlp:widths=9", "data": "digits", "epochs": 1, "progress": "none", "world": world}
    trainers = [Trainer(shard=shard, **options) for shard in ("none", "weights")]
    for trainer in trainers:
        trainer.evaluate()  # before, where every rank has all of them
        trainer.fit()
    found, expected = (trainer.evaluate() for trainer in trainers)
    assert found == pytest.approx(expected, rel=1e-4)
    trainers[1].fit()
    trainers[1].save(tmp_path / "weights.safetensors")


def test_a_nan_is_traced(world):
    loop, _ = open_loop(world, "weights")
    healthy = loop._train_step

    def train_step(microbatches):
        if loop.run.step == 2 and world.rank == world.size - 1:
            microbatches[1].x[0, 3] = np.nan
        return healthy(microbatches)

    loop._train_step = train_step
    with pytest.raises(AgreedError, match=r"in step 3: on rank \d the samples themselves hold nan"):
        loop.train()
    loop.run.data_parallel.free()


def test_a_step_that_is_not_finite_is_skipped(world):
    optimizer = dataclasses.replace(CONFIG.optimizer, non_finite="skip")
    for shard in ("gradients", "weights"):
        loop, _ = open_loop(world, shard, optimizer=optimizer)
        healthy, before = loop._train_step, {}

        def train_step(microbatches, loop=loop, healthy=healthy, before=before):
            if loop.run.step == 2:
                before.update(weights_of(loop))
                microbatches[0].x[:, 3] = np.inf
            done = healthy(microbatches)
            if loop.run.step == 3:
                for name, value in weights_of(loop).items():
                    np.testing.assert_array_equal(value, before[name])
            return done

        loop._train_step = train_step
        with np.errstate(all="ignore"):
            loop.train()
        assert loop.run.results.skipped == 1
        loop.run.data_parallel.free()


def test_rates_are_found(world):
    config = dataclasses.replace(CONFIG, parallel=SHARDS["weights"], run=Run(steps=5))
    setup = open_setup(config, world)
    before = setup.arena.values.copy()
    find_rates(resolved(config, setup), setup, world, Silent(None, 1), 1e-4, 1.0)
    np.testing.assert_array_equal(setup.arena.values, before)


@pytest.mark.parametrize("shard", SHARDS)
def test_slots_in_a_file(world, directory, shard):
    """The same bits, in files without names, of which a rank has its share."""
    found = []
    for options in ({}, {"offload_optimizer": str(directory / "slots")}):
        loop, setup = open_loop(world, shard)
        config = dataclasses.replace(loop.run.config, parallel=dataclasses.replace(SHARDS[shard], **options))
        loop.run.data_parallel.free()
        setup = open_setup(config, world, divided=True)
        loop = make_loop(config, setup, world, Silent(None, 1), run_path=directory / f"{len(found)}")
        loop.train()
        slot = loop.run.optimizer.slots["m"]
        assert isinstance(slot.base, np.memmap) == bool(options)
        own = loop.run.data_parallel.sync.own or (slice(HEADER, setup.arena.size),)
        found.append([weights_of(loop), *(slot[part].copy() for part in own)])
        loop.run.data_parallel.free()
    assert os.listdir(directory / "slots") == []
    for name, value in found[0][0].items():
        np.testing.assert_array_equal(found[1][0][name], value)
    for mine, theirs in zip(found[0][1:], found[1][1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    world.barrier()  # rank 0 has renamed the last file
    paths = [checkpoints.folder.newest_first(directory / str(k) / "checkpoints")[0] for k in range(2)]
    first, second = (checkpoints.Checkpoint(path)._sums for path in paths)
    first.pop(""), second.pop("")
    assert first == second


def test_a_full_disk_is_one_sentence(world, directory, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    if world.rank == world.size - 1:
        monkeypatch.setattr(os, "posix_fallocate", full)
    config = dataclasses.replace(CONFIG, parallel=Parallel(offload_optimizer=str(directory / "slots")))
    setup = open_setup(config, world)
    with pytest.raises(AgreedError, match=r"cannot keep the optimizer's state of a rank, .* No space left on device"):
        make_loop(resolved(config, setup), setup, world, Silent(None, 1))


def test_language_models_with_large_heads(world, directory, monkeypatch):
    """The head is read by the loss, also in evaluations, in which some ranks have fewer batches."""
    monkeypatch.setattr("mpitrain.head_loss.LARGE", 2)
    if world.rank == 0:
        (directory / "novel.txt").write_text("to be or not to be, that is the question. " * 20)
    world.barrier()
    options = {"model": "gpt:depth=2,width=8,heads=2,dropout=0.1", "steps": 3, "batch_size": 8, "lora": "rank=2"}
    source = f"text:{directory / 'novel.txt'},window=16"
    found = []
    for how in ({"shard": "none"}, {"shard": "weights", "gather_weights": "twice"}):
        trainer = Trainer(data=source, **how, progress="none", world=world, bucket_mb=0.001, **options)
        found.append(trainer.fit().test)
    assert found[1] == pytest.approx(found[0], rel=1e-4)
