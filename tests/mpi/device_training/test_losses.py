"""Whole runs on a device that stands for a GPU, on all ranks or on some: the losses are those of the CPU."""

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from mpitrain.comm.schedule import segments
from mpitrain.config import Data, Model, Optimizer, Parallel
from mpitrain.device import CPU
from mpitrain.errors import AgreedError
from mpitrain.training import devices
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.hooks.evaluation import Evaluation
from mpitrain.training.scoring.examples import examine
from mpitrain.training.setup import open_setup
from tests.gpu.device import ShimDevice
from tests.kernels import cpu
from tests.mpi.device_training.runs import STEPS, config_of, run

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]


@pytest.mark.parametrize("all_reduce", ["auto", "ring"])
def test_losses_are_the_cpus(world, alone, data, device, all_reduce):
    config = config_of(data, parallel=Parallel(all_reduce=all_reduce))
    found = run(world, config, device)
    expected = run(alone, config, CPU)
    assert len(found[0]) == STEPS
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
    assert found[1]["accuracy"] == expected[1]["accuracy"]
    assert found[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-4)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-3, atol=1e-5)
    assert (device is CPU) == (not getattr(device, "launches", None))


@pytest.mark.parametrize("source", ["images", "text"])
def test_examples_are_the_cpus(world, alone, data, tmp_path, source):
    device = ShimDevice() if world.rank % 2 == 0 else CPU
    config = config_of(data)
    if source == "text":
        (tmp_path / "text.txt").write_text("to be or not to be, " * 60)
        text = Data(source=f"text:{tmp_path / 'text.txt'},window=16", batch_size=16)
        config = dataclasses.replace(config, data=text, model=Model(name="gpt:depth=1,width=16,heads=2"))
    found = []
    for w, where in ((world, device), (alone, CPU)):
        use_device(where, w)
        loop = make_loop(config, open_setup(config, w, where), w, make_progress("none", None, config.run.epochs))
        loop.train()
        run = loop.run
        found.append(examine(loop.hooks[Evaluation].evaluator, run.setup.dataset, run.scoring))
        run.data_parallel.free()
        use_device(CPU, w)
    ours, expected = ([sample.pop("loss") for sample in facts["worst"]] for facts in found)
    np.testing.assert_allclose(ours, expected, rtol=1e-3)
    assert found[0].keys() == found[1].keys()
    assert [found[0][key] for key in ("samples", "examined")] == [found[1][key] for key in ("samples", "examined")]


def test_a_regression_far_from_zero(world, alone, tmp_path):
    """Targets that float32 cannot hold are learned on the device as normalized, and scored on the host as they are."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 4))
    np.savez(tmp_path / "far.npz", x=x + 1e9, y=1.7e9 + x @ rng.standard_normal((4, 2)))
    config = config_of(f"npz:{tmp_path / 'far.npz'}", model=Model(name="mlp", widths=(8,), activation="tanh"))
    device = ShimDevice() if world.rank % 2 == 0 else CPU
    found, expected = run(world, config, device), run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
    assert found[1].keys() == {"loss", "mse", "rmse", "r2"}
    assert found[1] == pytest.approx(expected[1], rel=1e-4)


@pytest.mark.parametrize("pipeline", ["1f1b", "zb_h1"])
@pytest.mark.parametrize("mesh", ["pipe", "data=2,pipe"])
def test_pipelines(world, alone, data, device, mesh, pipeline):
    """Stages of a device, all or some, with evaluation: the losses and scores of one rank on the CPU."""
    if world.size == 1 or (mesh != "pipe" and world.size < 4):
        pytest.skip("too few ranks for this mesh")
    pipe = world.size // (1 if mesh == "pipe" else 2)
    pipelined = Parallel(mesh=f"{mesh}={pipe}", pipeline=pipeline)
    for model in (Model(name="mlp", widths=(16,) * 4, dropout=0.2), Model(name="convnet")):
        config = config_of(data, model=model, optimizer=Optimizer(lr=0.02, schedule="constant", clip_norm=0.5))
        found = run(world, dataclasses.replace(config, parallel=pipelined), device)
        expected = run(alone, config, CPU)
        np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
        assert found[1]["accuracy"] == expected[1]["accuracy"]
        assert found[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-4)
        assert (device is CPU) == (not getattr(device, "launches", None))


def test_gradients_in_pieces(world, alone, data, monkeypatch):
    """Several buckets, each in many pieces, on ranks with and without a device."""
    monkeypatch.setattr(segments, "COST_BYTES", 256)
    config = config_of(data, parallel=Parallel(all_reduce="ring", bucket_mb=0.01))
    device = ShimDevice() if world.rank % 2 == 0 else CPU
    found, expected = run(world, config, device), run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-3, atol=1e-5)


def test_dropout_clipping_microbatches_and_adam(world, alone, data):
    config = config_of(
        data,
        model=Model(name="mlp", widths=(16,), dropout=0.4),
        optimizer=Optimizer(name="adamw", lr=0.01, weight_decay=0.1, clip_norm=0.1, accumulate=2),
    )
    found = run(world, config, ShimDevice() if world.rank % 2 == 0 else CPU)
    expected = run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-2, atol=1e-4)


def test_batch_normalisation_over_ranks(world, alone, data):
    config = config_of(data, model=Model(name="resnet8"))
    found = run(world, config, ShimDevice() if world.rank % 2 == 0 else CPU)
    expected = run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)


def test_a_target_outside_is_said(world, data):
    """As on the CPU, though nothing waits to look at targets: the loss is NaN, and that is looked into."""
    config = config_of(data, model=Model(name="mlp", widths=(16,)))
    device = ShimDevice()
    use_device(device, world)
    setup = open_setup(config, world, device)
    setup.dataset.train.y[5] = 9
    loop = make_loop(config, setup, world, make_progress("none", None, 1))
    try:
        with pytest.raises(AgreedError, match=r"on rank \d a target is 9, but the model has 4 outputs"):
            loop.train()
    finally:
        use_device(CPU, world)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_finished_run_is_opened_on_a_device(world, tmp_path_factory, monkeypatch, capsys, command):
    """The scores and outputs of the CPU."""
    folder = Path(world.all_gather(str(tmp_path_factory.mktemp("run")))[0])
    x = np.random.default_rng(1).standard_normal((30, 5)).astype(np.float32)
    if world.rank == 0:
        np.savez(folder / "data.npz", x=x, y=np.arange(30) % 3)
    world.barrier()
    train = ["train", f"--data=npz:{folder / 'data.npz'}", "--model=mlp", f"--out={folder / 'run'}"]
    assert command_of(train).run(world) == 0
    found = []
    for device in (CPU, ShimDevice()):
        monkeypatch.setattr(devices, "open_device", lambda place, precision="fp32", device=device: device)
        out = folder / f"{len(found)}.npz"
        tail = ["--json"] if command == "evaluate" else [f"--data=npz:{folder / 'data.npz'}", f"--out={out}"]
        capsys.readouterr()
        assert command_of([command, str(folder / "run"), *tail]).run(world) == 0
        use_device(CPU, world)
        if world.rank == 0:
            found.append(json.loads(capsys.readouterr().out) if command == "evaluate" else dict(np.load(out)))
    for name in found[0] if found else ():
        if np.asarray(found[0][name]).dtype.kind == "f":
            np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-4, atol=1e-6)


def command_of(argv):
    return importlib.import_module(f"mpitrain.cli.{argv[0]}").parse(argv[1:], False)
