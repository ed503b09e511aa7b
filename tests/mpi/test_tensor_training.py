"""Training of a language model on meshes with axis tensor: losses, weights, scores and checkpoints of one rank."""

import itertools

import numpy as np
import pytest

from mpitrain import Trainer, head_loss
from tests.trainings import Losses, saved

pytestmark = pytest.mark.mpi

MODEL = "llama:size=tiny,depth=2,width=32,heads=8,kv_heads=8,hidden=48"
COMMON = {"batch_size": 12, "accumulate": 2, "threads": 1, "progress": "none", "shard": "none", "lr": 1e-3}
COMMON |= {"optimizer": "adamw", "clip_norm": 0.5, "label_smoothing": 0.1, "schedule": "constant"}


def meshes(size):
    """Return (mesh, whether tokens are divided, too)."""
    found = [(f"tensor={size}", False), (f"tensor={size}", True)]
    if size % 2 == 0 and size > 2:
        found += [(f"{axis}=2,tensor={size // 2}", True) for axis in ("data", "pipe", "context")]
    return found if size > 1 else [("data=1", False)]


@pytest.fixture
def source(world, directory, monkeypatch):
    monkeypatch.setattr(head_loss, "LARGE", 16)  # the vocabulary is divided
    if world.rank == 0:
        words = np.random.default_rng(1).choice(["a rank", "sends", "a part", "of the sum", "and waits"], 300)
        (directory / "novel.txt").write_text(" ".join(words))
    world.barrier()
    return f"text:{directory / 'novel.txt'},window=9"


def train(world, source, **options):
    losses = Losses()
    trainer = Trainer(MODEL, source, hooks=[losses], world=world, **(COMMON | options))
    return losses.values, trainer.fit(), trainer


def test_one_rank_and_meshes_are_alike(world, alone, directory, source):
    expected, wanted, one = train(alone, source, steps=5)
    whole = saved(one, directory / f"one{world.rank}.safetensors")
    for mesh, sequence in meshes(world.size):
        losses, result, trainer = train(world, source, steps=5, mesh=mesh, sequence_parallel=sequence)
        found = saved(trainer, directory / "mesh.safetensors")
        np.testing.assert_allclose(losses, expected, rtol=1e-5, err_msg=mesh)
        for name, values in whole.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=3e-5, err_msg=f"{mesh} {name}")
        assert result.test == pytest.approx(wanted.test, rel=1e-4)
        x = trainer.setup.dataset.test.x[:5]
        np.testing.assert_allclose(trainer.outputs(x), one.outputs(x), rtol=1e-3, atol=1e-4, err_msg=mesh)


def test_checkpoints_go_from_mesh_to_mesh(world, directory, source):
    expected = saved(train(world, source, steps=4)[2], directory / "whole.safetensors")
    there = [*meshes(world.size)[1::2], ("", False)]
    for number, (first, then) in enumerate(itertools.pairwise([*there, there[0]])):
        out = str(directory / f"run{number}")
        options = {"out": out, "checkpoint_every": "2"}
        train(world, source, steps=2, mesh=first[0], sequence_parallel=first[1], **options)
        mesh, sequence = then
        trainer = Trainer(
            MODEL, source, world=world, steps=4, mesh=mesh, sequence_parallel=sequence, **(COMMON | options)
        )
        trainer.fit(resume=True)
        found = saved(trainer, directory / "found.safetensors")
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=3e-5, err_msg=f"{first} {then} {name}")
