"""Settings larger than the data or the machine."""

import os
from types import SimpleNamespace

import pytest

from mpitrain import models
from mpitrain.cli import main
from mpitrain.config import Config, Data, Optimizer, Parallel, Run
from mpitrain.config_check import check
from mpitrain.data import Augment
from mpitrain.data.augment import check_augment
from mpitrain.errors import UserError
from mpitrain.training import limits


def config(batch=64, accumulate=1, reproducible=0, threads=0):
    return Config(
        data=Data(batch_size=batch),
        optimizer=Optimizer(accumulate=accumulate),
        parallel=Parallel(reproducible=reproducible, threads=threads),
    )


@pytest.mark.parametrize(
    ("batch", "samples", "stages", "accumulate", "expected"),
    [
        (64, 1000, 1, 4, 4),
        (64, 1000, 1, 64, 64),
        (64, 1000, 1, 65, 64),
        (64, 10, 1, 100, 10),
        (64, 1000, 1, 0, 1),
        (64, 1000, 4, 0, 16),
        (64, 1000, 4, 3, 3),
        (64, 5, 4, 0, 5),
    ],
)
def test_microbatches(batch, samples, stages, accumulate, expected):
    wanted = config(batch, accumulate)
    assert limits.num_microbatches(wanted, samples, stages) == expected
    said = [note for note in limits.notes(wanted, samples, 2) if note.startswith(f"--accumulate {accumulate} is")]
    assert len(said) == (expected < accumulate)


@pytest.mark.parametrize(
    ("batch", "samples", "ranks", "shards", "expected"),
    [
        (64, 1000, 1, 0, 0),
        (64, 1000, 2, 8, 8),
        (64, 1000, 2, 64, 64),
        (64, 1000, 2, 1 << 20, 64),
        (65, 1000, 2, 1 << 20, 128),
        (5, 1000, 1, 8, 8),
        (64, 3, 8, 8, 8),
        (64, 3, 1, 8, 4),
        (64, 1, 1, 8, 1),
    ],
)
def test_shards(batch, samples, ranks, shards, expected):
    wanted = config(batch, reproducible=shards)
    assert limits.num_shards(wanted, samples, ranks) == expected
    said = [note for note in limits.notes(wanted, samples, ranks) if note.startswith("--reproducible")]
    assert len(said) == (expected < shards)


def test_a_batch_of_all_samples():
    assert limits.notes(config(1000), 1000, 2) == ()
    (note,) = limits.notes(config(10**8), 1437, 2)
    assert note == "--batch-size 100000000 is more than the 1,437 training samples: each step takes all of them"


def test_threads():
    world, cores = SimpleNamespace(cores=3, notes=[]), os.cpu_count()
    assert limits.num_threads(config(), world) == 3
    assert limits.num_threads(config(reproducible=2), world) == 1
    assert limits.num_threads(config(threads=cores), world) == cores
    assert world.notes == []
    assert limits.num_threads(config(threads=100_000), world) == cores
    assert world.notes == [f"--threads 100000 is more than the cores of this machine: takes {cores}"]


def test_memory():
    world = SimpleNamespace(node_size=2)
    limits.check_memory(config(), models.build("mlp", (64,), 10, widths=(100,)), world)
    model = models.build("mlp", (64,), 10, widths=(10**9,))
    with pytest.raises(
        UserError, match=r"has 75,000,000,010 parameters: .* of 2 ranks take 838\.2 GiB, and this machine"
    ):
        limits.check_memory(config(), model, world)


def test_memory_that_runs_out(capsys):
    assert main._describe(MemoryError("Unable to allocate 28.0 GiB"), 0, "rank 0 of 2") == 1
    assert capsys.readouterr().err == (
        "mpitrain: rank 0 of 2 is out of memory (Unable to allocate 28.0 GiB): take a smaller model or --batch-size\n"
    )


def test_crops():
    check_augment(Augment(0, crop=7, flip=True), (8, 9, 1))
    check_augment(Augment(0), (5,))
    with pytest.raises(UserError, match="a crop of 1000 shifts images of 8 x 9 out of sight: at most 7"):
        check_augment(Augment(0, crop=1000), (8, 9, 1))
    with pytest.raises(UserError, match="crops and flips need images"):
        check_augment(Augment(0, flip=True), (5,))


@pytest.mark.parametrize("seed", [-1, 2**63, 10**22])
def test_seeds(seed):
    check(Config(run=Run(seed=2**63 - 1)))
    with pytest.raises(UserError, match=r"--seed is -?\d+, but must be from 0 to 2\*\*63 - 1"):
        check(Config(run=Run(seed=seed)))
