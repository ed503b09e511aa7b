"""A launch that does not end is named, and the process ended."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from mpitrain.errors import UserError
from mpitrain.kernels import launch as launches
from mpitrain.kernels.gemm import RECORD
from mpitrain.kernels.kernel import kernel
from mpitrain.kernels.launch_watch import LaunchWatch, describe, from_environment
from mpitrain.kernels.plan import Launch

PLAN = Launch((2, 3, 1), (64, 1, 1), 128)
KERNEL = kernel("gemm_sum.cu", {"EPILOGUE": 0})


class Device:
    """A device whose kernels end when ``ended`` is set."""

    arch, capturing = "sm_80", False

    def __init__(self):
        self.ended, self.launched, self.waits = threading.Event(), 0, 0

    def load(self, kernel, cubin, shared_bytes):
        return kernel

    def launch(self, function, grid, block, shared_bytes, arguments):
        self.launched += 1

    def synchronize_current(self):
        self.waits += 1
        assert self.ended.wait(30)


def test_a_launch_that_does_not_end_is_named_with_its_arguments():
    device, said = Device(), []

    def end(text):
        said.append(text)
        device.ended.set()  # in place of the end of the process

    with LaunchWatch(0.2, end).over(device, KERNEL, PLAN, (np.array(7, np.int32), np.zeros((3, 5), np.float32))):
        pass
    assert said == [
        "gemm_sum.cu:gemm_sum EPILOGUE=0 has not ended after 0.2 s: grid (2, 3, 1), block (64, 1, 1), 128 bytes of "
        "shared memory; arguments: 7, float32 (3, 5)"
    ]


def test_a_launch_that_ends_is_waited_for_and_nothing_is_said():
    device, said = Device(), []
    device.ended.set()
    watch = LaunchWatch(0.2, said.append)
    for _ in range(5):
        with watch.over(device, KERNEL, PLAN, ()):
            device.launch(None, (), (), 0, ())
    assert (device.waits, device.launched) == (5, 5)
    assert watch._running == {}
    assert said == []


def test_what_is_captured_is_not_waited_for():
    device = Device()
    device.capturing = True
    with LaunchWatch(5).over(device, KERNEL, PLAN, ()):
        pass
    assert device.waits == 0


def test_only_what_is_watched_waits(monkeypatch):
    monkeypatch.setattr(launches, "WATCH", None)
    device = Device()
    device.ended.set()
    launches.launch(device, KERNEL, PLAN, ())
    assert device.waits == 0
    with launches.watched(5):
        launches.launch(device, KERNEL, PLAN, ())
    launches.launch(device, KERNEL, PLAN, ())
    assert (device.waits, device.launched) == (1, 3)


def test_records_are_said_by_their_fields():
    record = np.zeros((), RECORD)
    record["m"], record["alpha"] = 5, 0.5
    said = describe(PLAN, (record, np.frombuffer(np.arange(3, dtype=np.uint32).tobytes(), "V12").reshape(())))
    assert " m=5 " in said
    assert " alpha=0.5 " in said
    assert said.endswith("(0 1 2)")


PROGRAM = """
import numpy as np
from mpitrain.kernels.launch import launch
from tests.unit.test_launch_watch import KERNEL, PLAN, Device
launch(Device(), KERNEL, PLAN, (np.array(7, np.int32),))
"""


def test_the_process_ends(monkeypatch):
    monkeypatch.setenv("MPITRAIN_LAUNCH_TIMEOUT", "0.3")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 124
    assert "mpitrain: gemm_sum.cu:gemm_sum EPILOGUE=0 has not ended after 0.3 s: grid (2, 3, 1)" in done.stderr


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_wrong_time_is_refused(monkeypatch, text):
    monkeypatch.setenv("MPITRAIN_LAUNCH_TIMEOUT", text)
    with pytest.raises(UserError, match="MPITRAIN_LAUNCH_TIMEOUT is a number of seconds, not"):
        from_environment()


def test_nothing_is_watched_unless_asked_for(monkeypatch):
    monkeypatch.setenv("MPITRAIN_LAUNCH_TIMEOUT", "")
    assert from_environment() is None
