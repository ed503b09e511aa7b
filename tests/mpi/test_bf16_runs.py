"""Finished runs in bf16, on a device that stands for a GPU: scores, outputs and texts are near those in fp32."""

import importlib
import json
from collections import Counter

import numpy as np
import pytest

from mpitrain.config_file import read_config
from mpitrain.device import CPU, is_bf16
from mpitrain.errors import AgreedError
from mpitrain.key_value_cache import KeyValueCache
from mpitrain.serving.model import ServedModel
from mpitrain.training.devices import use_device
from mpitrain.training.directory.run_directory import CONFIG
from mpitrain.training.directory.trained_model import open_trained_model
from tests.gpu.device import ShimDevice
from tests.gpu.opened import Opened
from tests.kernels import cpu

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

OF_OUTPUTS = 2**-6
"""Bound for three layers, each of which rounds its result by at most 2^-9 of the largest."""


def command_of(argv):
    return importlib.import_module(f"mpitrain.cli.{argv[0]}").parse(argv[1:], False)


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    """The directory of a small classifier and a small language model, trained on the CPU."""
    folder = world.all_gather(tmp_path_factory.mktemp("runs"))[0]
    rng = np.random.default_rng(1)
    if world.rank == 0:
        np.savez(folder / "data.npz", x=rng.standard_normal((40, 12)).astype(np.float32), y=np.arange(40) % 3)
        (folder / "novel.txt").write_text("one fish, two fish, red fish, " * 20)
    world.barrier()
    common = ["--steps=3", "--progress=none"]
    table = f"--data=npz:{folder / 'data.npz'}", "--model=mlp:widths=20+16", f"--out={folder / 'mlp'}"
    text = f"--data=text:{folder / 'novel.txt'},window=16", "--model=gpt:depth=1,width=16,heads=2"
    for run in (table, (*text, f"--out={folder / 'gpt'}")):
        assert command_of(["train", *run, *common]).run(world) == 0
    return folder


@pytest.fixture
def gpu(world, monkeypatch):
    yield Opened(monkeypatch)
    use_device(CPU, world)


def results(world, capsys, folder, command, *options):
    """Return what a command says or writes (rank 0)."""
    run, out = folder / ("gpt" if command == "generate" else "mlp"), folder / f"{command}.npz"
    tail = {
        "evaluate": ["--json"],
        "predict": [f"--data=npz:{folder / 'data.npz'}", f"--out={out}"],
        "generate": ["--prompt=two", "--tokens=8", "--temperature=0", "--json"],
    }[command]
    capsys.readouterr()
    assert command_of([command, str(run), *tail, *options]).run(world) == 0
    if world.rank:
        return {}
    return dict(np.load(out)) if command == "predict" else json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("axis", ["data", "pipe", "tensor"])
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_results_are_near_those_in_fp32(world, folder, capsys, gpu, command, axis):
    """Also where ranks divide the model."""
    if world.size == 1 and axis != "data":
        pytest.skip("one rank has no mesh")
    found = results(world, capsys, folder, command, "--precision=bf16", f"--mesh={axis}={world.size}")
    launches, precision = sum(world.all_gather(gpu.device.launches), Counter()), gpu.device.precision
    exact = results(world, capsys, folder, command, "--precision=fp32")
    assert (precision, gpu.device.precision) == ("bf16", "fp32")
    assert launches["to_bf16"]
    assert not launches["to_fp32"]
    floats = [name for name in exact if np.asarray(exact[name]).dtype.kind == "f"]
    for name in floats:
        np.testing.assert_allclose(found[name], exact[name], rtol=OF_OUTPUTS, atol=OF_OUTPUTS, err_msg=name)
    differ = any(np.any(found[name] != exact[name]) for name in floats)
    assert differ or world.rank, "nothing was rounded"


def test_texts(world, folder, capsys, gpu, monkeypatch):
    """Keys and values are kept in bf16, and a token reads them by one launch a layer."""
    kept, append = [], KeyValueCache.append
    monkeypatch.setattr(KeyValueCache, "append", lambda *args: kept.append(append(*args)) or kept[-1])
    found = results(world, capsys, folder, "generate", "--precision=bf16")
    if world.rank == 0:
        assert kept
        assert all(map(is_bf16, kept))
        assert gpu.device.launches["attention_decode"]
        assert found["tokens"] == 8


@pytest.mark.parametrize("command", ["evaluate", "predict", "generate"])
def test_precision_without_a_gpu(world, folder, command):
    """As in training; what is not asked for is not refused."""
    run = str(folder / ("gpt" if command == "generate" else "mlp"))
    tail = [f"--data=npz:{folder / 'data.npz'}"] if command == "predict" else []
    job = command_of([command, run, "--device=cpu", "--precision=bf16", *tail])
    with pytest.raises(AgreedError, match="--precision bf16 needs a GPU: the CPU computes in fp32") as error:
        job.run(world)
    assert error.value.code == 2


def trained_in(precision, directory, target):
    """Copy a run whose settings say that it was trained in ``precision``."""
    target.mkdir(exist_ok=True)
    for file in directory.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    text = (target / CONFIG).read_text()
    assert 'precision = "fp32"' in text
    (target / CONFIG).write_text(text.replace('precision = "fp32"', f'precision = "{precision}"'))
    assert read_config(target / CONFIG).compute.precision == precision


def test_the_precision_is_that_of_the_training(world, folder, gpu, monkeypatch):
    """The most exact of several runs; fp32 where there is no GPU."""
    if world.rank == 0:
        for precision in ("bf16", "tf32"):
            trained_in(precision, folder / "mlp", folder / f"mlp {precision}")
    world.barrier()
    names = ("mlp bf16", "mlp tf32", "mlp")
    for runs, expected in ((names[:1], "bf16"), (names[:2], "tf32"), (names, "fp32")):
        assert command_of(["evaluate", *(str(folder / name) for name in runs), "--json"]).run(world) == 0
        assert gpu.device.precision == expected
    monkeypatch.undo()
    assert command_of(["evaluate", str(folder / "mlp bf16"), "--device=cpu", "--json"]).run(world) == 0
    assert CPU.precision == "fp32"


def test_serving(world, folder):
    """Probabilities of a service, and its texts."""
    run, found = open_trained_model(folder / "mlp", "last"), []
    for precision in ("bf16", "fp32"):
        device = ShimDevice()
        device.precision = precision
        model = ServedModel(run, world, device)
        found.append(model.predict(np.random.default_rng(2).standard_normal((5, 12)).astype(np.float32)))
    assert found[0].dtype == np.float32
    np.testing.assert_allclose(*found, atol=OF_OUTPUTS)
    assert np.any(found[0] != found[1])
