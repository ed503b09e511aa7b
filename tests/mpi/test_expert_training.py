"""Training of models with experts on meshes: losses, weights, scores, checkpoints of one rank."""

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.errors import AgreedError
from tests.trainings import Losses, saved

pytestmark = pytest.mark.mpi

MODEL = "gpt:depth=2,width=12,heads=2,experts=5"
COMMON = {"steps": 4, "batch_size": 10, "accumulate": 2, "threads": 1, "progress": "none", "shard": "none"}
HOW = {
    "loss": {"optimizer": "adamw", "clip_norm": 0.3},
    "bias": {"lr": 0.3, "recompute": "blocks"},
}
MESHES = {  # with loss and bias in turn
    1: ["expert=1", "expert=1"],
    2: ["expert=2", "expert=2"],
    3: ["expert=3", "data=3"],
    4: ["data=2,expert=2", "pipe=2,expert=2", "expert=2,tensor=2", "context=2,expert=2"],
    6: ["pipe=2,expert=3", "context=3,expert=2"],
    8: ["data=2,pipe=2,expert=2", "context=2,expert=4"],
}


@pytest.fixture
def source(world, directory):
    if world.rank == 0:
        words = np.random.default_rng(0).choice(["tree ", "sees ", "a ", "river.\n"], 200)
        (directory / "book.txt").write_text("".join(words))
    world.barrier()
    return f"text:{directory}/book.txt,window=9"


def train(world, source, how, **options):
    losses = Losses()
    model = f"{MODEL},balance={how},balance_rate=0.05"
    trainer = Trainer(model, source, hooks=[losses], world=world, **COMMON | HOW[how] | options)
    return losses.values, trainer.fit(), trainer


@pytest.mark.parametrize("balance", HOW)
def test_one_rank_and_any_mesh_are_alike(world, alone, directory, source, balance):
    expected, wanted, one = train(alone, source, balance)
    whole = saved(one, directory / f"one{world.rank}.safetensors")
    for mesh in MESHES.get(world.size, [])[list(HOW).index(balance) :: len(HOW)]:
        losses, result, trainer = train(world, source, balance, mesh=mesh)
        np.testing.assert_allclose(losses, expected, rtol=1e-5, err_msg=mesh)
        found = saved(trainer, directory / "mesh.safetensors")
        assert list(found) == list(whole)
        for name, values in whole.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5, err_msg=f"{mesh} {name}")
        assert result.test == pytest.approx(wanted.test, rel=1e-4)
        assert trainer.evaluate() == pytest.approx(result.test, rel=1e-12)
        x = trainer.setup.dataset.test.x[:7]
        np.testing.assert_allclose(trainer.outputs(x), one.outputs(x), rtol=1e-3, atol=1e-4, err_msg=mesh)


def test_a_checkpoint_of_another_mesh_continues(world, alone, directory, source):
    """With the bias of the router, which every rank has, and its loads of the step before."""
    options = {"checkpoint_every": "2", "schedule": "constant"}
    expected = saved(train(alone, source, "bias", schedule="constant")[2], directory / f"one{world.rank}.safetensors")
    out = str(directory / "run")
    first, then = (MESHES.get(world.size, [""])[0], "")
    train(world, source, "bias", **options | {"steps": 2, "out": out, "mesh": first})
    model = f"{MODEL},balance=bias,balance_rate=0.05"
    trainer = Trainer(model, source, world=world, **COMMON | HOW["bias"] | options | {"out": out, "mesh": then})
    trainer.fit(resume=True)
    found = saved(trainer, directory / "found.safetensors")
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
    assert found["1.mlp.score_bias"].any()
    assert found["1.mlp.step"] == 4


def test_ranks_without_samples(world, alone, source):
    mesh = next((mesh for mesh in MESHES.get(world.size, []) if "expert" in mesh), None)
    if mesh is None:
        pytest.skip("no mesh for so many ranks")
    expected = train(alone, source, "loss", batch_size=1, accumulate=0)[0]
    found = train(world, source, "loss", batch_size=1, accumulate=0 if "pipe" not in mesh else 1, mesh=mesh)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_does_not_go_with_experts(world, source):
    if world.size == 1:
        pytest.skip("one rank goes with everything")
    for options, message in (
        ({"sync": "local:steps=2"}, "the router of experts counts tokens over all of them in every step"),
        ({"balance": "dynamic"}, "tokens of experts that are counted over all ranks"),
    ):
        with pytest.raises(AgreedError, match=message):
            train(world, source, "loss", recompute="off", **options)
