"""Whole runs on a device that stands for a GPU, on all ranks or on some: the losses are those of the CPU."""

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.comm.schedule import segments
from mpitrain.comm.watch.watched import WatchedComm
from mpitrain.config import Compute, Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.errors import AgreedError, UserError
from mpitrain.optim import QueuedUpdate, queued_update
from mpitrain.training import devices
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.executors import graphed as graphs
from mpitrain.training.hooks import Hook
from mpitrain.training.hooks.evaluation import Evaluation
from mpitrain.training.loop import TrainingLoop
from mpitrain.training.scoring.examples import examine
from mpitrain.training.setup import open_setup
from tests.fake_nccl import give_nccl
from tests.gpu.device import ShimDevice, spoil
from tests.images import write_images
from tests.kernels import cpu

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

STEPS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory, world):
    """A small data set, so that an epoch has three steps, the last of which is not full."""
    return write_images(world, tmp_path_factory, channels=1)


def run(world, config, device, algorithms=None, hooks=(), **options):
    """Return the losses of all steps, the test score and the weights; ``algorithms`` gets the names of the sums."""
    use_device(device, world, **options)
    setup = open_setup(config, world, device)
    loop = make_loop(config, setup, world, make_progress("none", None, config.run.epochs), hooks=hooks)
    losses = []
    step = loop._train_step
    loop._train_step = lambda batches: losses.append(step(batches)) or losses[-1]
    loop.train()
    weights = device.to_host(setup.arena.values).copy()
    if algorithms is not None:
        algorithms.update(loop.run.data_parallel.sync.algorithms)
    loop.run.data_parallel.free()
    use_device(CPU, world)
    return np.array(losses), loop.run.results.evaluations[-1].test, weights


def config_of(data, **branches):
    config = Config(
        data=Data(source=data, batch_size=16),
        model=Model(name="convnet"),
        optimizer=Optimizer(lr=0.02, schedule="constant"),
        run=Run(epochs=1, progress="none"),
    )
    return dataclasses.replace(config, **branches)


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


def graphs_of(world, config, device):
    """Return what ``run`` does by graphs, and how many microbatches were."""
    launched = []
    launch = graphs.StepGraphs._launch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs.StepGraphs, "_launch", lambda *args: launched.append(launch(*args)))
        compute = dataclasses.replace(config.compute, cuda_graph="on")
        return run(world, dataclasses.replace(config, compute=compute), device), len(launched)


@pytest.mark.parametrize(
    "branches",
    [
        {"model": Model(name="mlp", widths=(16,), dropout=0.4), "optimizer": Optimizer(name="adamw", clip_norm=0.1)},
        {"model": Model(name="resnet8", batch_norm="local"), "optimizer": Optimizer(accumulate=2)},
        {"parallel": Parallel(all_reduce="ring", bucket_mb=0.01)},
    ],
    ids=["mlp", "resnet8", "buckets"],
)
def test_cuda_graphs(world, data, device, branches):
    """The bits of the eager run: with dropout, schedules, microbatches, and messages between graphs."""
    config = config_of(data, run=Run(epochs=3, progress="none"), **branches)
    found, launched = graphs_of(world, config, device)
    expected = run(world, config, device)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (launched > 0) == (device is not CPU)


def test_what_has_no_cuda_graph_is_said(world, data, capsys):
    """The host sums statistics of batch normalization over ranks in the middle of the step."""
    config = config_of(data, model=Model(name="resnet8"))
    graphs_of(world, config, ShimDevice())
    said = "in the middle of it ranks sum statistics" in capsys.readouterr().err
    assert said == (world.size > 1 and world.rank == 0)


def test_cuda_graph_without_a_gpu(world, data):
    config = config_of(data, compute=Compute(cuda_graph="on", device="cpu"))
    with pytest.raises(AgreedError, match="--cuda-graph on needs a GPU"):
        devices.take_device(config, world)


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


@pytest.mark.parametrize("ranks", ["alone", "world"])
@pytest.mark.parametrize("cuda_graph", ["off", "on"])
def test_a_steady_step_waits_for_the_device_once_and_asks_for_no_memory(request, data, ranks, cuda_graph):
    """The header and the norm are read together; nothing else of a step is, with messages or without."""
    device, steps = ShimDevice(), []
    counted = TrainingLoop._train_step

    def step(self, batches):
        with device.counted() as counts:
            found = counted(self, batches)
        steps.append([counts[name] for name in ("syncs", "buffers", "pinned")])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_train_step", step)
        config = config_of(
            data,
            model=Model(name="mlp", widths=(16,), dropout=0.3),
            optimizer=Optimizer(clip_norm=0.5),
            parallel=Parallel(check_every=0),
            run=Run(epochs=4, progress="none"),
        )
        compute = Compute(cuda_graph=cuda_graph)
        run(request.getfixturevalue(ranks), dataclasses.replace(config, compute=compute), device)
    assert len(steps) == 4 * STEPS
    assert steps[3 * STEPS :] == [[1, 0, 0]] * STEPS
    if cuda_graph == "off":
        assert [syncs for syncs, _, _ in steps] == [1] * 4 * STEPS


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


class FakeGroup:
    """NCCL's collectives by MPI, at a moment of their own: results are there at the second query."""

    def __init__(self, comm):
        self.comm = comm

    def all_reduce(self, array):
        self.comm.Allreduce(MPI.IN_PLACE, array.memory)
        return self._end(array, lambda: None)

    def all_to_all(self, array, result):
        spoil(result.memory)
        sent, arrives = array.memory.copy(), np.empty_like(result.memory)
        request = self.comm.Ialltoall(sent, arrives)
        return self._end(array, lambda: (request.Wait(), np.copyto(result.memory, arrives), sent))

    def all_gather(self, array):
        each = array.size // self.comm.size
        mine, arrives = array.memory[self.comm.rank * each :][:each].copy(), np.empty_like(array.memory)
        spoil(array.memory)
        request = self.comm.Iallgather(mine, arrives)
        return self._end(array, lambda: (request.Wait(), np.copyto(array.memory, arrives), mine))

    @staticmethod
    def _end(array, work):
        stream = array.device.stream()
        stream.queue.append(work)
        return stream.record()


@pytest.fixture
def nccl(monkeypatch, world):
    """Let devices that stand for GPUs have a NCCL; ranks of even number have GPUs of their own."""
    monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}", raising=False)
    monkeypatch.setattr(ShimDevice, "make_group_id", lambda self: (1, 2), raising=False)
    monkeypatch.setattr(ShimDevice, "make_group", lambda self, id, size, rank: FakeGroup(world._comm), raising=False)


def test_nccl(world, alone, data, nccl):
    config = config_of(data, parallel=Parallel(all_reduce="nccl"))
    found, expected = run(world, config, ShimDevice()), run(alone, config_of(data), CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-3, atol=1e-5)


class Looks(Hook):
    """A hook that could leave a step out: so updates wait for the host."""

    def gradients_ready(self, info):
        return None


@pytest.mark.parametrize(
    "optimizer", ["sgd:momentum=0.9", "adamw:weight_decay=0.1", "adagrad", "lars:weight_decay=0.01"]
)
@pytest.mark.parametrize("graph", ["off", "on"])
def test_updates_are_queued_before_the_host_reads_sums(world, data, monkeypatch, optimizer, graph):
    """With the bits of updates by the host's numbers; clipping is at work in some steps, and rates change."""
    if world.size > 2:
        pytest.skip("more ranks add nothing")
    config = config_of(
        data,
        optimizer=Optimizer(name=optimizer, lr=0.02, schedule="cosine", clip_norm=1.0),
        compute=Compute(device="cuda", cuda_graph=graph),
    )
    queued, graphs = [], []
    queue, capture = QueuedUpdate.queue, QueuedUpdate._capture
    monkeypatch.setattr(QueuedUpdate, "queue", lambda self: (queued.append(1), queue(self)))
    monkeypatch.setattr(QueuedUpdate, "_capture", lambda self: graphs.append(capture(self)) or graphs[-1])
    found = run(world, config, ShimDevice())
    assert len(queued) == len(found[0])
    assert [graph is not None for graph in graphs] == [True] * (config.compute.cuda_graph == "on")
    expected = run(world, config, ShimDevice(), hooks=[Looks()])
    assert len(queued) == len(found[0]), "a hook has a say"
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[2], expected[2])


def test_a_large_update_is_not_captured(world, data, monkeypatch):
    """Its weights and slots would have to be copied; the bits are the same."""
    config = config_of(data, compute=Compute(device="cuda", cuda_graph="on"))
    captured = run(world, config, ShimDevice())
    monkeypatch.setattr(queued_update, "MOST_BYTES", 0)
    found = run(world, config, ShimDevice())
    np.testing.assert_array_equal(found[2], captured[2])


def test_a_queued_update_leaves_out_what_is_not_finite(world, data):
    """Weights, slots and the number of steps are those of the same steps without it."""
    if world.size > 2:
        pytest.skip("more ranks add nothing")
    config = config_of(data, optimizer=Optimizer(name="adam", lr=0.01, non_finite="skip"))
    results = []
    for hooks in ((), [Looks()]):
        device = ShimDevice()
        use_device(device, world)
        setup = open_setup(config, world, device)
        setup.dataset.train.x[5] = np.nan
        loop = make_loop(config, setup, world, make_progress("none", None, 1), hooks=hooks)
        loop.train()
        results.append(
            (device.to_host(setup.arena.values).copy(), loop.run.optimizer.step_count, loop.run.results.skipped)
        )
        loop.run.data_parallel.free()
        use_device(CPU, world)
    (found, *counts), (expected, *wanted) = results
    assert counts == wanted
    assert counts[1] > 0
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, expected)


def test_auto_takes_nccl_where_each_rank_has_a_gpu(world, alone, data, nccl, monkeypatch):
    """With the same sums; without NCCL, or with too few GPUs, MPI sums, and a note says so in the first case."""
    if world.size == 1:
        pytest.skip("one rank has nothing to sum")
    config, found = config_of(data), []

    def algorithms():
        names = set()
        found.append(run(world, config, ShimDevice(), names, offers_nccl=True)[0])
        return names

    seen, noted = [], WatchedComm.noted
    monkeypatch.setattr(WatchedComm, "noted", lambda comm, *call: (seen.append(call[0]), noted(comm, *call))[1])
    assert algorithms() == {"nccl"}
    assert "start of NCCL" in seen, "nobody could say who is late"
    monkeypatch.setattr(ShimDevice, "identity", "the same")
    assert "nccl" not in algorithms()
    assert not any("NCCL" in note for note in world.notes)
    monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}")

    def missing(self, *args):
        raise UserError("NCCL is not installed")

    monkeypatch.setattr(ShimDevice, "make_group", missing)
    assert "nccl" not in algorithms()
    assert "gradients are summed by MPI: NCCL does not start on rank 0: NCCL is not installed" in world.notes
    for losses in found:
        np.testing.assert_allclose(losses, found[0], rtol=2e-5)
    np.testing.assert_allclose(found[0], run(alone, config, CPU)[0], rtol=2e-5)


@pytest.mark.parametrize(("codec", "by"), [("powersgd", "nccl"), ("int8", "all_to_all/pairwise and all_gather/bruck")])
def test_auto_takes_nccl_for_messages_that_are_sums(world, data, nccl, codec, by):
    if world.size != 2:
        pytest.skip("one rank sends nothing, and more ranks add nothing")
    config, names = config_of(data, parallel=Parallel(compress=codec)), set()
    found = run(world, config, ShimDevice(), names, offers_nccl=True)
    assert names == {f"{by} of {codec}"}
    np.testing.assert_allclose(found[0], run(world, config, ShimDevice())[0], rtol=1e-4)


def test_nccl_without_gpus_or_with_too_few_is_said(world, data, nccl, monkeypatch):
    config = config_of(data, parallel=Parallel(all_reduce="nccl"))
    with pytest.raises(AgreedError, match="nccl needs a GPU on each rank, and rank 0 has none"):
        run(world, config, CPU)
    if world.size > 1:
        monkeypatch.setattr(ShimDevice, "identity", "the same")
        with pytest.raises(AgreedError, match="ranks 0 and 1 share one"):
            run(world, config, ShimDevice())
        monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}")

    def missing(self, *args):
        raise RuntimeError("NCCL_ERROR_SYSTEM_ERROR")

    monkeypatch.setattr(ShimDevice, "make_group", missing)
    with pytest.raises(AgreedError, match="NCCL does not start on rank 0: NCCL_ERROR_SYSTEM_ERROR"):
        run(world, config, ShimDevice())
    use_device(CPU, world)


def by_nccl(data, mesh="pipe", **parallel):
    """Return the config of a pipeline of all ranks, or of two, whose messages NCCL sends."""
    return config_of(
        data,
        model=Model(name="mlp", widths=(16,) * 4, dropout=0.2),
        optimizer=Optimizer(lr=0.02, schedule="constant", clip_norm=0.5),
        parallel=Parallel(mesh=mesh, channel="nccl", **parallel),
    )


@pytest.mark.parametrize("mesh", ["pipe", "data=2,pipe"])
def test_pipelines_by_nccl(world, data, monkeypatch, mesh):
    """Steps and evaluations have the bits of those whose messages MPI sends."""
    if world.size == 1 or (mesh != "pipe" and world.size < 4):
        pytest.skip("too few ranks for this mesh")
    give_nccl(monkeypatch, world)
    pipe = world.size // (1 if mesh == "pipe" else 2)
    config = by_nccl(data, f"{mesh}={pipe}", stages=",".join(str(3 * stage) for stage in range(1, pipe)))
    found = run(world, config, ShimDevice())
    parallel = dataclasses.replace(config.parallel, channel="mpi")
    expected = run(world, dataclasses.replace(config, parallel=parallel), ShimDevice())
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]
    np.testing.assert_array_equal(found[2], expected[2])


def test_a_nan_is_traced_through_a_pipeline_by_nccl(world, data, monkeypatch):
    if world.size == 1:
        pytest.skip("a pipeline has at least two ranks")
    give_nccl(monkeypatch, world)
    device, config = ShimDevice(), by_nccl(data, f"pipe={world.size}")
    use_device(device, world)
    setup = open_setup(config, world, device)
    setup.dataset.train.y[5] = 9
    loop = make_loop(config, setup, world, make_progress("none", None, 1))
    try:
        with pytest.raises(AgreedError, match=r"\(rank \d\) a target is 9, but the model has 4 outputs"):
            loop.train()
    finally:
        use_device(CPU, world)


def test_what_nccl_cannot_join_is_said(world, data, monkeypatch):
    """In one sentence, before stages are measured; every rank leaves with exit code 2."""
    if world.size == 1:
        with pytest.raises(AgreedError, match="--channel is for a pipeline: give its number of ranks"):
            run(world, by_nccl(data, ""), CPU)
        return
    give_nccl(monkeypatch, world)
    config = by_nccl(data, f"pipe={world.size}")
    last, text = world.size - 1, "nccl needs a GPU on each rank, and rank {} has none: choose another --channel"
    with pytest.raises(AgreedError, match=text.format(last)) as error:
        run(world, config, CPU if world.rank == last else ShimDevice())
    assert error.value.code == 2
    monkeypatch.setattr(ShimDevice, "identity", "the same")
    with pytest.raises(AgreedError, match="ranks 0 and 1 share one: choose another --channel"):
        run(world, config, ShimDevice())
    monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}")

    def missing(self, *args):
        raise UserError("NCCL is not installed: pip install nvidia-nccl-cu12")

    monkeypatch.setattr(ShimDevice, "make_group_id", missing)
    with pytest.raises(AgreedError, match="NCCL does not start on rank 0: NCCL is not installed"):
        run(world, config, ShimDevice())
    if world.size % 2 == 0 and world.size > 2:
        both = by_nccl(data, f"data=2,pipe={world.size // 2}", all_reduce="nccl")
        with pytest.raises(AgreedError, match="--channel nccl does not go with --all-reduce nccl"):
            run(world, both, ShimDevice())
    use_device(CPU, world)
