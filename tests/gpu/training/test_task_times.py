"""Sums of the times of tasks, by a clock that the device's work moves."""

import pytest

from mpitrain.parallel.pipeline.task_times import TaskTimes
from tests.gpu.lagging import LaggingDevice


class Clock:
    """The time of a device whose work takes as long as it says."""

    def __init__(self):
        self.device, self.now = LaggingDevice(), 500.0
        self.device.compute.clock, self.device.compute.patience = lambda: self.now, 1000

    def work(self, seconds):
        def done():
            self.now += seconds

        self.device.compute.do(done)


def step(clock, times, before, tasks, after):
    """Queue a step: work before each task, the tasks, and work after them."""
    begin, spans = times.mark(), []
    for idle, busy in zip(before, tasks, strict=True):
        clock.work(idle)
        first = times.mark()
        clock.work(busy)
        spans.append((first, times.mark()))
    clock.work(after)
    times.end_step(begin, spans)


def test_idle_time():
    clock = Clock()
    times = TaskTimes(clock.device)
    step(clock, times, (1, 0, 2), (3, 5, 1), 8)
    assert times.idle is None
    clock.device.synchronize()
    assert times.idle == pytest.approx(11 / 20)
    step(clock, times, (0, 0), (5, 10), 0)  # not done: its time does not count yet
    assert times.idle == pytest.approx(11 / 20)
    spans, error = times.on_host_clock()
    assert [end - begin for begin, end in spans] == pytest.approx([5, 10])
    assert error < 1
    assert times.idle == pytest.approx(11 / 35)


def test_times_that_are_not_known_are_an_error():
    clock = Clock()
    before, after = clock.device.compute.record(timed=True), clock.device.compute.record(timed=True)
    with pytest.raises(RuntimeError, match="has not passed"):
        after.seconds_since(before)
    plain = clock.device.compute.record()
    plain.wait()
    with pytest.raises(RuntimeError, match="not recorded as timed"):
        plain.seconds_since(before)
    assert after.seconds_since(before) == 0
