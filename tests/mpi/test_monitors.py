"""Monitors in a job of several ranks: called on rank 0 only, told of the times of all, and agreed mistakes."""

import pytest

from mpitrain.config import Config, Data, Model, Run
from mpitrain.errors import AgreedError, UserError
from mpitrain.monitor import Monitor
from mpitrain.monitor.guard import Monitors
from mpitrain.monitor.opening import open_monitors
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi

CONFIG = Config(data=Data(batch_size=360), model=Model(name="mlp", widths=(8,)), run=Run(epochs=2))


def train(world, *monitors):
    guard = Monitors([(type(monitor).__name__, monitor) for monitor in monitors])
    loop = make_loop(CONFIG, open_setup(CONFIG, world), world, Silent(None, 1), observers=[guard])
    try:
        loop.train()
    finally:
        loop.run.data_parallel.free()
    return loop.run


class Log(Monitor):
    def __init__(self):
        self.times, self.losses = [], []

    def step_end(self, info):
        self.losses.append(info.loss)

    def evaluate_end(self, info):
        self.times.append(info.run.times_of_ranks)


def test_rank_0_is_told_of_all(world):
    log = Log()
    run = train(world, log)
    assert len(log.losses) == (8 if world.rank == 0 else 0)
    assert len(log.times) == (2 if world.rank == 0 else 0)
    own = world.all_gather(run.period_times)
    if world.rank == 0:
        assert [len(times) for times in log.times] == [world.size] * 2
        assert log.times[-1] == own


class Broken(Monitor):
    def __init__(self, event, error):
        self.event, self.error = event, error

    def train_begin(self, info):
        if self.event == "begin":
            raise self.error

    def evaluate_end(self, info):
        if self.event == "evaluate":
            raise self.error


@pytest.mark.parametrize("error", [KeyError("x"), UserError("no room"), OSError("disk")])
def test_no_rank_waits_for_a_monitor_that_fails(world, error):
    log = Log()
    assert train(world, Broken("evaluate", error), log).step == 8
    assert len(log.losses) == (8 if world.rank == 0 else 0)  # the monitors after it are called


def test_all_ranks_end_together_where_a_monitor_cannot_begin(world):
    with pytest.raises(AgreedError, match="the monitor Broken failed in train_begin: OSError: no server") as error:
        train(world, Broken("begin", OSError("no server")))
    assert error.value.code == 2


@pytest.mark.parametrize("monitor", ["nothing", "sqlite:file=/dev/null/x", "tensorboard"])
def test_mistakes_are_agreed(world, monitor):
    with pytest.raises(AgreedError, match="monitor") as error:
        open_monitors(Run(monitor=monitor), world, has_directory=False)
    assert error.value.code == 2


def test_no_monitors_are_no_hook(world):
    assert open_monitors(Run(), world, has_directory=True) == []
