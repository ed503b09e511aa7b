"""Training on meshes of data and pipe: the losses, scores and files of one rank."""

import json

import numpy as np
import pytest
import safetensors.numpy

from mpitrain import Hook, Trainer
from mpitrain.collectives.price.calibration import DEFAULT
from mpitrain.comm.channel import Channel
from mpitrain.errors import AgreedError
from mpitrain.layers import Flatten, Linear, ReLU, Residual, Sequential
from tests.trainings import Losses

pytestmark = pytest.mark.mpi

LONG = "mlp:widths=" + "+".join(["16"] * 8)
COMMON = {"steps": 12, "batch_size": 150, "accumulate": 5, "threads": 1, "progress": "none", "shard": "none"}
MORE = {
    "dropout and clipping": {"model": f"{LONG},dropout=0.2", "clip_norm": 0.5, "metrics": "top5,f1,confusion"},
    "adamw": {"model": f"{LONG},activation=gelu", "optimizer": "adamw", "augment": True},
    "lars": {"model": LONG, "optimizer": "lars", "schedule": "one-cycle"},
    "local statistics": {"model": "resnet8", "batch_norm": "local"},
}
MESHES = {
    "1f1b": {},
    "zb_h1": {"pipeline": "zb_h1", "shard": "optimizer"},
    "interleaved": {"pipeline": "interleaved:chunks=2", "shard": "auto", "recompute": "blocks"},
    "greedy": {"pipeline": "greedy:memory=1", "all_reduce": "ring", "bucket_mb": 0.001, "recompute": "stage"},
}


def settings(name, **more):
    found = COMMON | MORE[name] | more
    if found.pop("augment", False):
        found |= {"crop": 1, "flip": True}
    return found


def train(world, **options):
    """Return (losses of the steps, result, trainer)."""
    losses = Losses()
    trainer = Trainer(options.pop("model"), "digits", hooks=[losses], world=world, **options)
    return losses.values, trainer.fit(), trainer


def meshes(size):
    """Return the meshes of ``size`` ranks that have several stages."""
    return [f"data={size // pipe},pipe={pipe}" for pipe in range(2, size + 1) if size % pipe == 0] or ["pipe=1"]


PAIRS = [(name, how) for i, name in enumerate(MORE) for k, how in enumerate(MESHES) if (i + k) % 4 < 2]


@pytest.mark.parametrize(("name", "how"), PAIRS)
def test_losses_and_weights_of_one_rank(world, alone, directory, name, how):
    expected, wanted, one = train(alone, **settings(name))
    one.save(directory / f"one{world.rank}.safetensors")
    whole = safetensors.numpy.load_file(directory / f"one{world.rank}.safetensors")
    for mesh in meshes(world.size):
        options = {} if "pipe=1" in mesh else MESHES[how]
        losses, result, trainer = train(world, **settings(name, mesh=mesh, **options))
        trainer.save(directory / "mesh.safetensors")
        world.barrier()
        found = safetensors.numpy.load_file(directory / "mesh.safetensors")
        assert list(found) == list(whole)
        if mesh.startswith("data=1,") and "clip_norm" not in MORE[name]:  # the norm is added stage by stage
            assert losses == expected
            assert all(np.array_equal(found[tensor], whole[tensor]) for tensor in whole)
            assert result.test == wanted.test
        elif name != "local statistics":
            np.testing.assert_allclose(losses, expected, rtol=1e-5)
            assert result.test["loss"] == pytest.approx(wanted.test["loss"], rel=1e-4)
        assert set(result.test) == set(wanted.test)
        scores = trainer.evaluate()
        assert scores == pytest.approx(result.test, rel=1e-12)
        x = trainer.setup.dataset.test.x[:41]
        outputs = trainer.outputs(x), one.outputs(x)
        if name != "local statistics" or mesh.startswith("data=1,"):
            np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-3)
        world.barrier()


def tied(input_shape, num_outputs):
    hidden = [Linear(16, 16) for _ in range(4)]
    for one in hidden[1:]:
        one.weight = hidden[0].weight
    hidden[0].weight.uses = len(hidden)
    layers = [layer for one in hidden for layer in (one, ReLU())]
    return Sequential(Flatten(), Linear(64, 16), ReLU(), *layers, Linear(16, num_outputs))


@pytest.mark.parametrize("shard", ["none", "optimizer", "auto"])
def test_weights_that_stages_share(world, alone, directory, shard):
    """They count once in the norm, which clips, and in files, and all copies stay equal."""
    options = settings("lars", model=tied, optimizer="adamw", clip_norm=0.2, shard=shard)
    expected, _, one = train(alone, **(options | {"shard": "none"}))
    for mesh in meshes(world.size):
        losses, _, trainer = train(world, **(options | {"mesh": mesh}))
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        assert trainer.setup.num_parameters == one.setup.num_parameters
        copies = [p.data.copy() for p in trainer.setup.arena.parameters if p.name == "3.weight"]
        found = [copy for copies in world.all_gather(copies) for copy in copies]
        assert all(np.array_equal(copy, found[0]) for copy in found)


@pytest.mark.parametrize(("model", "how"), [("resnet8", "blocks"), ("resnet8", "stage"), (LONG, "stage")])
def test_recomputation_without_a_pipeline(world, model, how):
    options = settings("lars", model=model, accumulate=2)
    expected, wanted, _ = train(world, **options)
    losses, result, _ = train(world, **options, recompute=how)
    assert losses == expected
    assert result.test == wanted.test


@pytest.mark.parametrize("shards", [4, 16])
def test_the_same_bits_on_every_mesh(world, alone, shards):
    options = settings("dropout and clipping", reproducible=shards, accumulate=0)
    expected, _, one = train(alone, **options)
    values = {p.name: p.data.copy() for p in one.setup.arena.parameters}
    for mesh in meshes(world.size):
        if shards % (world.size // int(mesh.rpartition("=")[2])):
            continue
        losses, _, trainer = train(world, **(options | {"mesh": mesh}))
        assert losses == expected
        assert all(np.array_equal(p.data, values[p.name]) for p in trainer.setup.arena.parameters)


def test_a_run_continues_on_another_mesh(world, alone, directory):
    """Stopped and resumed on every mesh in turn, one rank among them."""

    class Stop(Hook):
        def step_end(self, info):
            if info.step == self.at:
                info.run.requests.preempt = True

    options = settings("adamw", checkpoint_every=100)
    expected, _, _ = train(alone, **options)
    losses, resume = [], False
    places = [(world, mesh) for mesh in meshes(world.size)] + [(alone, "pipe=1"), (world, f"data={world.size}")]
    for number, (ranks, mesh) in enumerate(places):
        found, stop = Losses(), Stop()
        stop.at = 4 * number + 2
        if ranks is world or world.rank == 0:
            more = {"hooks": [found, stop], "world": ranks, "out": str(directory / "run"), "mesh": mesh}
            Trainer(**(options | more), data="digits").fit(resume=resume)
        losses += found.values
        world.barrier()
        losses, resume = world.all_gather(losses)[0], True
    np.testing.assert_allclose(losses, expected[: len(losses)], rtol=1e-5)
    assert len(losses) > 4


def test_the_report_has_the_stages(world, directory):
    _, _, trainer = train(world, **settings("lars", mesh=meshes(world.size)[-1], out=str(directory / "run")))
    world.barrier()
    report = json.loads((directory / "run" / "report.json").read_text())
    if world.size == 1:
        assert "pipeline" not in report
        return
    assert report["mesh"] == {"pipe": world.size}
    pipeline = report["pipeline"]
    assert pipeline["stages_of_rank"] == [[rank] for rank in range(world.size)]
    assert len(pipeline["units_of_stage"]) == len(pipeline["parameters_of_stage"]) == world.size
    assert sum(pipeline["parameters_of_stage"]) == report["parameters"] == trainer.setup.num_parameters
    assert all(0 <= idle < 1 for idle in pipeline["idle_of_rank"])


def test_channels_are_not_made_at_each_evaluation(world, directory, monkeypatch):
    if world.size == 1:
        pytest.skip("one rank has no pipeline")
    made, make = [], Channel.__init__

    def count(self, group):
        made.append(group)
        make(self, group)

    monkeypatch.setattr(Channel, "__init__", count)
    for epochs in (1, 3):
        options = settings("lars", mesh=meshes(world.size)[-1], out=str(directory / f"{epochs}"), epochs=epochs)
        del options["steps"]
        train(world, **options)
    assert len(made) == 4  # of each run, one between the tasks and one for weights


def test_the_prediction_counts_calibrated_messages(world, monkeypatch):
    if world.size == 1:
        pytest.skip("no messages")
    options = settings("lars", mesh=f"pipe={world.size}")
    del options["steps"]
    model = options.pop("model")
    _, without, _ = Trainer(model, "digits", world=world, **options).setup.pipeline.describe()
    monkeypatch.setattr("mpitrain.training.mesh.pipeline.calibration_path", lambda *facts: DEFAULT)
    _, line, _ = (pipeline := Trainer(model, "digits", world=world, **options).setup.pipeline).describe()
    assert "without messages" in without
    assert "without messages" not in line
    assert pipeline.predict().price.message > 0


def test_what_does_not_go_with_a_mesh(world):
    def refused(match, model=LONG, **options):
        with pytest.raises(AgreedError, match=match):
            Trainer(model, "digits", world=world, progress="none", **options)

    refused(r"the mesh data=1,pipe=\d+ has \d+ ranks, not \d", mesh=f"data=1,pipe={7 * world.size}")
    refused("--stages is for a pipeline", stages="3")
    refused("--pipeline is for a pipeline", pipeline="gpipe")
    if world.size == 1:
        return
    mesh = {"mesh": f"pipe={world.size}"}
    refused("batch normalization", model="resnet8", reproducible=8, **mesh)
    refused("cannot be cut into", model=Sequential(Flatten()), **mesh)
    refused("only a Sequential can be cut", model=Residual(Sequential(Flatten())), **mesh)
    refused("there is no pipeline", pipeline="gpip", **mesh)
    one, two = Linear(64, 64), Linear(64, 64)
    two.weight = one.weight
    shared = Sequential(Flatten(), one, ReLU(), two, Linear(64, 10))
    refused("stages share weights", model=shared, reproducible=8, **mesh)
