"""Training of recommenders whose tables are divided on meshes: losses, weights, scores, checkpoints of one rank."""

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.errors import AgreedError
from mpitrain.training import weight_streams, weights
from mpitrain.training.mesh import placement
from tests.trainings import Losses, saved

pytestmark = pytest.mark.mpi

SOURCE = "clicks:samples=300,columns=3,codes=1100,numbers=2"
MODELS = {"dlrm": "dlrm:size=4,bottom=6,top=8", "mlp": "mlp:widths=8,embedding=3"}
COMMON = {"steps": 5, "batch_size": 50, "threads": 1, "progress": "none", "shard": "none", "schedule": "constant"}
HOW = {
    "adam": {"optimizer": "adam:lr=0.01", "clip_norm": 0.1, "accumulate": 2},
    "momentum": {"optimizer": "sgd:lr=0.5,momentum=0.9,weight_decay=0.01"},
    "sgd": {"optimizer": "sgd:lr=2,momentum=0", "clip_norm": 0.05, "accumulate": 3},  # these have gradients as rows
    "adagrad": {"optimizer": "adagrad:lr=0.1"},
    "lazy": {"optimizer": "adam:lr=0.01,lazy=true"},
}
ROWS = ("sgd", "adagrad", "lazy")
MESHES = {
    1: ["expert=1"],
    2: ["expert=2"],
    3: ["expert=3"],
    4: ["expert=4", "data=2,expert=2", "pipe=2,expert=2", "expert=2,tensor=2"],
    6: ["data=2,expert=3"],
}


def meshes_of(how, size):
    """Return the meshes on which an optimizer is tried; rows of whole tables are summed over axis data."""
    if how not in ROWS:
        return MESHES.get(size, [])
    return [f"data={size}", *(mesh for mesh in MESHES.get(size, []) if "pipe" not in mesh and "tensor" not in mesh)]


def train(world, how, model="dlrm", source=SOURCE, **options):
    losses = Losses()
    trainer = Trainer(MODELS[model], source, hooks=[losses], world=world, **COMMON | HOW[how] | options)
    return losses.values, trainer.fit(), trainer


@pytest.mark.parametrize(
    ("how", "model"), [("adam", "dlrm"), ("momentum", "dlrm"), ("momentum", "mlp"), *((how, "dlrm") for how in ROWS)]
)
def test_one_rank_and_any_mesh_are_alike(world, alone, directory, how, model):
    expected, wanted, one = train(alone, how, model)
    whole = saved(one, directory / f"one{world.rank}.safetensors")
    for mesh in meshes_of(how, world.size):
        losses, result, trainer = train(world, how, model, mesh=mesh)
        assert len(trainer.setup.arena.by_rows) == 3 * (how in ROWS)
        np.testing.assert_allclose(losses, expected, rtol=1e-5, err_msg=mesh)
        found = saved(trainer, directory / "mesh.safetensors")
        assert list(found) == list(whole)
        for name, values in whole.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5, err_msg=f"{mesh} {name}")
        assert result.test == pytest.approx(wanted.test, rel=1e-4)
        assert trainer.evaluate() == pytest.approx(result.test, rel=1e-12)
        x = trainer.setup.dataset.test.x[:7]
        np.testing.assert_allclose(trainer.outputs(x), one.outputs(x), rtol=1e-3, atol=1e-4, err_msg=mesh)


@pytest.mark.parametrize("how", ["sgd", "adagrad"])
def test_gradients_as_rows_are_those_of_whole_tables(world, alone, directory, how, monkeypatch):
    _, _, by_rows = train(world, how, mesh=MESHES.get(world.size, [""])[0])
    found = saved(by_rows, directory / "rows.safetensors")
    monkeypatch.setattr(placement, "keep_rows", lambda *args: None)
    _, _, dense = train(alone, how)
    assert (len(by_rows.setup.arena.by_rows), len(dense.setup.arena.by_rows)) == (3, 0)
    for name, values in saved(dense, directory / f"dense{world.rank}.safetensors").items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.fixture
def in_pieces(monkeypatch):
    """Send, write and read all tables of the test as if they were large."""
    for module, name, value in (
        (weight_streams, "LARGE", 1),
        (weights, "LARGE", 1),
        (weights, "PIECE", 300),
        (weight_streams, "PIECE", 300),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(("rows", "how"), [("whole", "adagrad"), ("in pieces", "adam")])
def test_a_checkpoint_of_another_mesh_continues(world, alone, directory, rows, how, request):
    expected = saved(train(alone, how)[2], directory / f"one{world.rank}.safetensors")
    if rows == "in pieces":
        request.getfixturevalue("in_pieces")
    meshes = meshes_of(how, world.size)[how in ROWS :] or [""]
    for first, then in zip((meshes[0], ""), ("", meshes[-1]), strict=True):
        options = {"checkpoint_every": "2", "out": str(directory / f"run{first}")}
        train(world, how, **options | {"steps": 2, "mesh": first})
        trainer = Trainer(MODELS["dlrm"], SOURCE, world=world, **COMMON | HOW[how] | options | {"mesh": then})
        trainer.fit(resume=True)
        found = saved(trainer, directory / "found.safetensors")
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
        trained = Trainer.load(options["out"], world=world)
        assert trained.evaluate() == pytest.approx(trainer.evaluate(), rel=1e-5)


def test_a_file_that_cannot_be_written_leaves_nobody_waiting(world, directory, in_pieces):
    _, _, trainer = train(world, "adam", mesh=MESHES.get(world.size, [""])[0])
    with pytest.raises(AgreedError, match="cannot write"):
        trainer.save(directory / "missing" / "weights.safetensors")
    before = saved(trainer, directory / "before.safetensors")
    for p in trainer.setup.arena.trained:
        p.data += 1
    for name, values in saved(trainer, directory / "after.safetensors").items():  # and no older piece is in a message
        np.testing.assert_array_equal(values, before[name] + 1)


def test_ranks_without_samples(world, alone):
    mesh = MESHES.get(world.size, [""])[0]
    expected = train(alone, "momentum", batch_size=1)[0]
    np.testing.assert_allclose(train(world, "momentum", batch_size=1, mesh=mesh)[0], expected, rtol=1e-5)


def test_what_does_not_go_with_divided_tables(world):
    if world.size == 1:
        pytest.skip("one rank goes with everything")
    mesh = {"mesh": f"expert={world.size}"}
    for options, message in (
        ({"shard": "optimizer"}, "--shard optimizer does not go with axis expert yet"),
        ({"compress": "int8"}, "--compress does not go with axis expert"),
        ({"source": SOURCE.replace("1100", "1000")}, "embedding tables, which are divided from 1024 rows on"),
    ):
        with pytest.raises(AgreedError, match=message):
            train(world, "adam", **mesh | options)
    with pytest.raises(AgreedError, match="--sync local:steps=2 needs gradients of whole tables: leave lazy=true out"):
        train(world, "lazy", sync="local:steps=2")
