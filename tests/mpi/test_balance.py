"""Shares by weight and by measured speed (--balance): the losses of one rank, whoever computes a sample."""

import dataclasses
import json
import math
import random
import time

import numpy as np
import pytest

from mpitrain import BatchNorm2d, Flatten, Layer, Linear, Sequential, Trainer
from mpitrain.config import Compute, Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.errors import AgreedError
from mpitrain.parallel.balance import Change
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.executors import graphed
from mpitrain.training.hooks import balance as hook
from mpitrain.training.hooks.balance import Balance
from mpitrain.training.setup import OwnParts, open_setup
from tests.gpu.device import ShimDevice
from tests.images import write_images
from tests.kernels import cpu
from tests.mpi.device_training.runs import run
from tests.mpi.test_trainer_resume import Preempt

pytestmark = pytest.mark.mpi

SMOOTH = Model(name="mlp", widths=(16,), activation="tanh", dropout=0.3)
MODELS = {"mlp": SMOOTH, "convnet": Model(name="convnet"), "resnet8": Model(name="resnet8")}


@pytest.fixture(scope="module")
def data(tmp_path_factory, world):
    return write_images(world, tmp_path_factory, channels=1)


def config_of(source, balance="off", **branches):
    config = Config(
        data=Data(source=source, batch_size=16, crop=1, flip=True),
        model=SMOOTH,
        optimizer=Optimizer(lr=0.02, schedule="constant", accumulate=2),
        parallel=Parallel(balance=balance),
        run=Run(epochs=2, progress="none"),
    )
    return dataclasses.replace(config, **branches)


def random_weights(pick, size):
    """The same on all ranks: small ones and large ones."""
    return tuple(pick.choice([0.05, 0.5, 1.0, 7.0]) * (1 + pick.random()) for _ in range(size))


class Shuffled:
    """In place of the decision: other shares after every window, at random but the same on all ranks."""

    def __init__(self, size):
        self._pick, self._size, self.changes = random.Random(size), size, []

    def observe(self, window):
        assert len(window.amounts) == self._size
        total = sum(weights := random_weights(self._pick, self._size))
        after = tuple(weight / total for weight in weights)
        self.changes.append(Change(after, (1 / self._size,) * self._size, 0.1, 0, 1.0, (), 1.0, [0.9]))
        return self.changes[-1]


@pytest.fixture
def shuffled(monkeypatch):
    monkeypatch.setattr(hook, "Balancer", Shuffled)
    for name in ("FIRST_STEPS", "FEW_STEPS", "MANY_STEPS"):
        monkeypatch.setattr(hook, name, 2)


@pytest.mark.parametrize("model", MODELS)
def test_losses_of_any_weights(world, alone, data, model):
    """With dropout, augmentation, microbatches, and batch statistics over the ranks."""
    if model == "resnet8" and world.size > 4:
        pytest.skip("its many sums take long where ranks share cores")
    balance = ":".join(f"{weight:.3f}" for weight in random_weights(random.Random(world.size), world.size))
    options = {"model": MODELS[model], "run": Run(epochs=1, progress="none")}
    found = run(world, config_of(data, balance, **options), CPU)
    expected = run(alone, config_of(data, **options), CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5 if model == "mlp" else 1e-4)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-3, atol=1e-5 if model == "mlp" else 1e-4)


def test_losses_of_shares_that_change(world, alone, data, shuffled):
    config = config_of(data, run=Run(epochs=8, progress="none"))
    expected = run(alone, config, CPU)
    found = run(world, dataclasses.replace(config, parallel=Parallel(balance="auto")), CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-4, atol=1e-6)


@cpu.needs_gxx
@pytest.mark.parametrize("cuda_graph", ["off", "on"])
def test_shares_that_change_on_devices(world, alone, data, shuffled, monkeypatch, cuda_graph):
    """CPU and GPU ranks in one job, and graphs that are made anew for the new shapes."""
    launched, forgotten = [], []
    launch, forget = graphed.StepGraphs._launch, graphed.StepGraphs.forget
    monkeypatch.setattr(graphed.StepGraphs, "_launch", lambda *args: launched.append(launch(*args)))
    monkeypatch.setattr(graphed.StepGraphs, "forget", lambda *args: forgotten.append(len(launched)) or forget(*args))
    for name in ("FIRST_STEPS", "FEW_STEPS", "MANY_STEPS"):
        monkeypatch.setattr(hook, name, 8 if cuda_graph == "on" else 2)
    device = ShimDevice() if world.rank % 2 == 0 else CPU
    config = config_of(
        data,
        data=Data(source=data, batch_size=13),  # 38 samples: a ragged batch at the end
        compute=Compute(cuda_graph=cuda_graph),
        run=Run(epochs=10 if cuda_graph == "on" else 4, progress="none"),
    )
    expected = run(alone, dataclasses.replace(config, compute=Compute()), CPU)
    found = run(world, dataclasses.replace(config, parallel=Parallel(balance="auto")), device)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    if cuda_graph == "on" and device is not CPU:
        assert launched
    if cuda_graph == "on" and world.size > 1:
        later = bool(forgotten) and len(launched) > forgotten[0]
        assert world.sum(np.array([float(later)]))[0] > 0, "there are graphs of the new shapes"


def test_a_run_is_resumed_with_other_shares(world, alone, directory, shuffled):
    """Killed between two changes, it begins with equal shares again; the losses are those of one rank."""
    settings = {"epochs": 3, "progress": "none", "batch_size": 100, "lr": 0.01, "balance": "auto"}
    settings |= {"widths": [16], "activation": "tanh"}
    expected = Trainer("mlp", "digits", world=alone, **settings | {"balance": "off"}).fit()
    out = str(directory / "run")
    first = Trainer("mlp", "digits", world=world, out=out, hooks=[Preempt(19)], **settings).fit(resume=True)
    assert (first.steps, first.stopped) == (19, True)
    world.barrier()
    result = Trainer("mlp", "digits", world=world, out=out, **settings).fit(resume=True)
    found = [(each.train["loss"], each.test["loss"]) for each in result.evaluations]
    assert found == [pytest.approx((e.train["loss"], e.test["loss"]), rel=1e-5) for e in expected.evaluations]
    world.barrier()
    if world.rank == 0 and world.size > 1:
        lines = map(json.loads, (directory / "run" / "metrics.jsonl").read_text().splitlines())
        changes = [line for line in lines if line["kind"] == "balance"]
        assert len(changes) >= 4
        assert all(math.isclose(sum(line["shares"]), 1, abs_tol=1e-3) for line in changes)
        report = json.loads((directory / "run" / "report.json").read_text())["balance"]
        assert len(report["shares"]) == world.size
        assert report["changes"] > 0


class Sleep(Layer):
    """Passes x on, in training after a sleep in proportion to the samples: longer on a rank that is slow."""

    def __init__(self, seconds):
        self.seconds = seconds

    def forward(self, x, ctx):
        time.sleep(self.seconds * len(x) * ctx.training)
        return x

    def backward(self, dy, ctx):
        return dy


def test_a_slow_rank_gets_fewer_samples(world, directory, capsys):
    """A few windows of 8 steps are enough to find it, and the user is told."""
    if world.size not in (2, 3, 4):
        pytest.skip("the ranks would be busy with each other")
    slowness, slow, out = 4, world.size - 1, directory / "run"

    def net(input_shape, num_outputs):
        return Sequential(Sleep(1e-3 * (slowness if world.rank == slow else 1)), Flatten(), Linear(64, num_outputs))

    settings = {"steps": 46, "evaluate_every": "46", "batch_size": 64, "balance": "auto", "progress": "none"}
    trainer = Trainer(net, "digits", world=world, out=str(out), **settings)
    trainer.fit()
    world.barrier()
    exact = 1 / (1 + slowness * (world.size - 1))
    said = capsys.readouterr().err
    assert said.count("of each batch instead of") in ((1, 2, 3) if world.rank == 0 else (0,))
    if world.rank == 0:
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        changes = [line for line in lines if line["kind"] == "balance"]
        assert changes[0]["step"] <= 32
        assert changes[-1]["shares"][slow] == pytest.approx(exact, rel=0.3)
        assert f"rank {slow} takes" in said
        report = json.loads((out / "report.json").read_text())["balance"]
        assert report["measured_gain"] is not None


@cpu.needs_gxx
def test_gpus_get_more_than_slow_cpus(world, data):
    """Own work is measured by the events of each device; the shares follow, and the losses are finite."""
    if world.size not in (2, 3):
        pytest.skip("the ranks would be busy with each other")
    has_gpu = world.rank % 2 == 0
    device = ShimDevice() if has_gpu else CPU

    def net(input_shape, num_outputs):
        return Sequential(Flatten(), Sleep(5e-4 if has_gpu else 4e-3), Linear(64, num_outputs))

    config = config_of(
        data,
        "auto",
        data=Data(source=data, batch_size=24),
        optimizer=Optimizer(lr=0.02, schedule="constant"),
        run=Run(steps=50, evaluate_every="50", progress="none"),
    )
    use_device(device, world)
    setup = open_setup(config, world, device, own=OwnParts(model=net))
    loop = make_loop(config, setup, world, make_progress("none", None, 1))
    loop.train()
    weights = loop.run.loader.weights_at((loop.run.position.epoch, loop.run.position.steps))
    loop.run.data_parallel.free()
    use_device(CPU, world)
    assert len(weights) == world.size
    assert min(weights[::2]) > 2 * max(weights[1::2])
    assert np.isfinite(loop.run.results.evaluations[-1].train["loss"])


def test_the_work_of_a_rank_is_without_its_waiting(world, alone, data):
    """Rank 0 takes longest: the others do not count the time in which they wait for it."""
    config = config_of(data, "auto", model=Model(name="resnet8"), run=Run(steps=6, progress="none"))
    if world.size == 1:
        loop = make_loop(config, open_setup(config, world), world, make_progress("none", None, 1))
        assert loop.hooks.one(Balance) is None, "nothing is measured where there is nothing to divide"
        loop.run.data_parallel.free()
        return
    loop = make_loop(config, open_setup(config, world), world, make_progress("none", None, 1))
    meter, executor = loop.hooks[Balance]._meter, loop.executor
    norm = next(layer for layer in loop.run.setup.model.layers() if isinstance(layer, BatchNorm2d))
    total = norm.sum_over_ranks
    late = 0.05 if world.rank == 0 else 0.0

    def slow_sum(array):
        time.sleep(late)
        return total(array)

    norm.sum_over_ranks = slow_sum
    loop.train()
    assert executor is loop.executor
    window = meter.exchange(world, 2.0)
    loop.run.data_parallel.free()
    assert len(window.amounts) == world.size
    assert window.seconds[0] > 0.09, "two microbatches"
    assert all(seconds < window.seconds[0] for seconds in window.seconds[1:])
    assert window.most == pytest.approx([2 * amount for amount in window.amounts])


def test_stages_are_cut_by_speed(world):
    """The slow rank gets a smaller part of the model, and the prediction knows that it is slow."""
    if world.size not in (2, 3):
        pytest.skip("the ranks would be busy with each other")
    slow, units = world.size - 1, 12

    def net(input_shape, num_outputs):
        seconds = 1e-3 * (3 if world.rank == slow else 1)
        return Sequential(Flatten(), *(Sleep(seconds) for _ in range(units - 2)), Linear(64, num_outputs))

    settings = {"steps": 1, "batch_size": 32, "mesh": f"pipe={world.size}", "accumulate": 4, "progress": "none"}
    trainer = Trainer(net, "digits", world=world, balance="auto", **settings)
    trainer.fit()
    cut = trainer.setup.pipeline.cut
    assert 1 <= units - cut.starts[slow] <= units / world.size - 1, "with ranks alike it has 6 of 12, or 4"
    assert 2 < cut.slowness[slow] < 4.5


def test_what_does_not_go_together(world, data):
    wrong = [
        ("1:" * world.size + "1", f"has {world.size + 1} weights, but batches are divided among {world.size} rank")
    ]
    for balance, message in wrong:
        with pytest.raises(AgreedError, match=message):
            open_setup(config_of(data, balance), world)
    if world.size > 1:
        config = config_of(data, parallel=Parallel(balance="auto", mesh=f"pipe={world.size}", stages="1"))
        with pytest.raises(AgreedError, match="--balance auto cuts the stages of a pipeline by speed, and --stages by"):
            open_setup(config, world)


def test_weights_in_a_pipeline(world, alone, data):
    """Every stage of a pipeline knows its share."""
    if world.size != 4:
        pytest.skip("for 2 pipelines of 2 ranks")
    config = config_of(data, model=dataclasses.replace(SMOOTH, widths=(16, 16)))
    mesh = Parallel(mesh="data=2,pipe=2", balance="5:2")
    found = run(world, dataclasses.replace(config, parallel=mesh), CPU)
    expected = run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)


@pytest.mark.parametrize(("all_reduce", "shard"), [("auto", "auto"), ("ring", "none"), ("ring", "optimizer")])
def test_microbatches_for_who_is_free(world, alone, data, all_reduce, shard):
    """Each is computed once, whoever it is; the losses are those of one rank that computes all."""
    dynamic = Parallel(balance="dynamic", all_reduce=all_reduce, shard=shard, bucket_mb=0.01)
    optimizer = Optimizer(lr=0.02, schedule="constant", accumulate=3, clip_norm=0.5)
    config = config_of(data, optimizer=optimizer)
    found = run(world, dataclasses.replace(config, parallel=dynamic), CPU)
    expected = run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-4, atol=1e-6)


@cpu.needs_gxx
def test_microbatches_for_cpus_and_gpus(world, alone, data):
    config = config_of(data, run=Run(epochs=1, progress="none"))
    device = ShimDevice() if world.rank % 2 == 0 else CPU
    found = run(world, dataclasses.replace(config, parallel=Parallel(balance="dynamic")), device)
    np.testing.assert_allclose(found[0], run(alone, config, CPU)[0], rtol=1e-4)


def test_a_slow_rank_takes_fewer_microbatches(world, directory):
    if world.size not in (2, 3, 4):
        pytest.skip("the ranks would be busy with each other")

    def net(input_shape, num_outputs):
        return Sequential(Sleep(5e-4 * (4 if world.rank == 0 else 1)), Flatten(), Linear(64, num_outputs))

    settings = {"steps": 6, "evaluate_every": "6", "batch_size": 64, "accumulate": 16, "balance": "dynamic"}
    Trainer(net, "digits", world=world, out=str(directory / "run"), progress="none", **settings).fit()
    if world.rank == 0:
        report = json.loads((directory / "run" / "report.json").read_text())["balance"]
        assert sum(report["shares"]) == pytest.approx(1, abs=1e-3)
        assert min(report["shares"]) == report["shares"][0] < 0.7 / world.size


def test_tickets_are_drawn_once(world):
    tickets, drawn = world.group("data").tickets, []
    for count in (5, 0, 1, 100):
        mine = list(tickets.deal(count))
        world.barrier()
        assert mine == sorted(mine)
        drawn.append(sorted(number for numbers in world.all_gather(mine) for number in numbers))
    assert drawn == [list(range(count)) for count in (5, 0, 1, 100)]


def test_what_does_not_go_with_dynamic(world, data):
    config = config_of(data, "dynamic", model=Model(name="resnet8"))
    if world.size > 1:
        with pytest.raises(AgreedError, match="--balance dynamic does not go with batch statistics over all ranks"):
            run(world, config, CPU)
        pipe = Parallel(balance="dynamic", mesh=f"pipe={world.size}")
        with pytest.raises(AgreedError, match="--balance dynamic does not go with a pipeline"):
            open_setup(config_of(data, parallel=pipe), world)
