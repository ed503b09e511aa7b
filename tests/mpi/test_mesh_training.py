"""Training on meshes with any axes: losses, weights, scores, outputs and checkpoints of one rank."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.comm.axes import say_sizes
from mpitrain.errors import AgreedError
from tests.trainings import Losses, saved

pytestmark = pytest.mark.mpi

TEXT = f"text:{Path(__file__).parents[2] / 'LICENSE'},window=13"
MODELS = {
    "mlp": ("mlp:widths=13+24+10+8", "digits", ("pipe", "tensor")),
    "gpt": ("gpt:depth=2,width=24,heads=4,dropout=0.1", TEXT, ("pipe", "context", "tensor")),
    "experts": ("gpt:depth=2,width=24,heads=4,experts=6,top_k=2", TEXT, ("expert", "pipe", "context", "tensor")),
    "convnet": ("convnet:channels=4+6,width=20", "digits", ("space", "pipe", "tensor")),
}
COMMON = {"steps": 8, "batch_size": 30, "accumulate": 4, "threads": 1, "progress": "none", "shard": "none"}
HOW = [
    {"clip_norm": 0.3},
    {"optimizer": "adamw", "weight_decay": 0.1, "label_smoothing": 0.1},
    {"optimizer": "lars", "weight_decay": 0.01, "lr": 0.1},
    {"shard": "weights", "clip_norm": 0.3},
    {"shard": "gradients", "optimizer": "lars", "weight_decay": 0.01, "lr": 0.1},
]


def meshes(size, axes, most=4):
    """Return meshes of ``size`` ranks: all axes alone, then two and three together, of which the first ``most``."""
    found = []
    for count in (1, 2, 3):
        for some in itertools.combinations(("data", *axes), count):
            sizes = itertools.product([n for n in range(2, size + 1) if size % n == 0], repeat=count)
            fitting = [dict(zip(some, one, strict=True)) for one in sizes if math.prod(one) == size]
            found += [say_sizes({"data": 1} | one) for one in fitting if one.keys() != {"data"}]
    return found[:most] if size > 1 else ["data=1"]


def train(world, model, source, **options):
    """Return (losses of the steps, result, trainer)."""
    losses = Losses()
    trainer = Trainer(model, source, hooks=[losses], world=world, **options)
    return losses.values, trainer.fit(), trainer


@pytest.mark.parametrize("name", MODELS)
def test_one_rank_and_any_mesh_are_alike(world, alone, directory, name):
    model, source, axes = MODELS[name]
    for mesh, how in zip(meshes(world.size, axes, 99), itertools.cycle(HOW)):
        options = COMMON | how
        expected, wanted, one = train(alone, model, source, **options | {"shard": "none"})
        whole = saved(one, directory / f"one{world.rank}.safetensors")
        if "pipe" in mesh or "expert" in mesh:
            options |= {"shard": "none"}
        losses, result, trainer = train(world, model, source, **options, mesh=mesh)
        found = saved(trainer, directory / "mesh.safetensors")
        np.testing.assert_allclose(losses, expected, rtol=1e-5, err_msg=mesh)
        assert list(found) == list(whole)
        for tensor, values in whole.items():
            np.testing.assert_allclose(found[tensor], values, rtol=1e-3, atol=1e-5, err_msg=f"{mesh} {tensor}")
        assert result.test == pytest.approx(wanted.test, rel=1e-4)
        assert trainer.evaluate() == pytest.approx(result.test, rel=1e-12)
        x = trainer.setup.dataset.test.x[:41]
        np.testing.assert_allclose(trainer.outputs(x), one.outputs(x), rtol=1e-3, atol=1e-4, err_msg=mesh)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_of_any_mesh_continues_on_any_other(world, directory, name):
    model, source, axes = MODELS[name]
    options = COMMON | {"optimizer": "adam", "checkpoint_every": "4", "schedule": "constant"}
    whole = train(world, model, source, **options)[2]
    expected = saved(whole, directory / "whole.safetensors")
    there = meshes(world.size, axes, 99)[:: 1 + (world.size > 3)]
    for number, (first, then) in enumerate(itertools.pairwise([*there, "", there[0]])):
        out = str(directory / f"run{number}")
        train(world, model, source, **(options | {"steps": 4, "out": out, "mesh": first}))
        trainer = Trainer(model, source, world=world, **(options | {"out": out, "mesh": then}))
        trainer.fit(resume=True)
        found = saved(trainer, directory / "found.safetensors")
        for tensor, values in expected.items():
            np.testing.assert_allclose(found[tensor], values, rtol=1e-3, atol=1e-5, err_msg=f"{first}, {then} {tensor}")


def test_settings_that_do_not_go_with_parts_of_layers(world):
    if world.size == 1:
        pytest.skip("one rank has no parts")
    mesh = f"tensor={world.size}"
    for options in ({"reproducible": 8}, {"sync": "local:steps=4"}, {"balance": "auto"}):
        with pytest.raises(AgreedError, match=f"{next(iter(options)).replace('_', '-')} does not go with axis tensor"):
            Trainer("mlp", "digits", world=world, progress="none", mesh=mesh, **options)
