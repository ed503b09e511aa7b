"""Guard of a trial: it ends every kind of wait for a rank that does not come, and the ranks go on."""

import time

import numpy as np
import pytest

from mpitrain.comm.channel import Channel
from mpitrain.comm.made import Made
from mpitrain.comm.mesh import Mesh
from mpitrain.comm.parts import Part
from mpitrain.config import Config
from mpitrain.device import CPU, GpuSlot, VisibleGpus
from mpitrain.sweeps.state import TIMED_OUT
from mpitrain.training import devices
from mpitrain.training.trials.guard import Guard, TrialEnded

BUFFER = np.ones(3000)


def late(world):
    """The last rank, which never comes."""
    return world.rank == world.size - 1


def busy(world):
    if late(world):
        while True:
            pass
    world.barrier()


def barrier(world):
    time.sleep(1000 * late(world))
    world.barrier()


def objects(world):
    time.sleep(1000 * late(world))
    world.all_gather({"a": 1})


def sums(world):
    time.sleep(1000 * late(world))
    world.sum(np.ones(2))


def all_reduce(algorithm):
    def wait(world):
        plan = world.plan_all_reduce(BUFFER.copy(), algorithm)
        time.sleep(1000 * late(world))
        plan.start()
        plan.wait()

    wait.__name__ = algorithm
    return wait


def mesh(world):
    group = Mesh(world, f"data={world.size}")["data"]
    group.barrier()
    time.sleep(1000 * late(world))
    group.barrier()


def channel(world):
    channel = Channel(world.group("data"))
    time.sleep(1000 * late(world))
    if not late(world):
        message = channel.receive(np.empty(3), world.size - 1)
        message.wait()


WAITS = [busy, barrier, objects, sums, *map(all_reduce, ("ring", "native", "shared", "tree")), mesh, channel]


def wait_and_sleep(world, wait):
    wait(world)
    time.sleep(20)  # the only rank of a world, which waits for nobody


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
def test_a_wait_is_ended(world, wait):
    part = Part(world, range(world.size))
    stuck = []
    with Made():
        own = part.world(lambda text: None)
        begin = time.monotonic()
        guard = Guard(0, 0, lambda: time.monotonic() - begin > 0.2, lambda *why: stuck.append(why))
        with pytest.raises(TrialEnded, match="another rank"), guard:
            wait_and_sleep(own, wait)
        guard.close()
        assert time.monotonic() - begin < 10
        own.close()
    assert not stuck
    part.renew()  # nothing is left of it
    assert part.share("on" if part.rank == 0 else None) == "on"
    world.barrier()


def test_the_time_of_a_trial(monkeypatch):
    monkeypatch.setattr("mpitrain.training.trials.guard.GRACE", 0.1)
    guard = Guard(0.1, 0.1, lambda: False, lambda *why: None)
    with pytest.raises(TrialEnded, match=r"longer than 0\.1 s") as ended, guard:
        time.sleep(10)
    assert ended.value.status == TIMED_OUT
    assert guard.time_is_up


def test_a_trial_that_catches_everything(monkeypatch):
    monkeypatch.setattr("mpitrain.training.trials.guard.STUCK", 0.4)
    monkeypatch.setattr("mpitrain.training.trials.guard.AGAIN", 0.1)
    stuck, caught = [], 0
    guard = Guard(0, 0, lambda: False, lambda *why: stuck.append(why))
    with guard:
        guard.end(TIMED_OUT, "why")
        until = time.monotonic() + 5
        while not stuck and time.monotonic() < until:
            try:
                time.sleep(0.05)
            except TrialEnded:
                caught += 1
    assert stuck == [(TIMED_OUT, "why")]
    assert caught > 1


def test_nothing_is_raised_after_the_end():
    guard = Guard(0, 0, lambda: False, lambda *why: None)
    with guard:
        pass
    guard.end(TIMED_OUT, "too late")
    time.sleep(0.3)


def test_parts_share_the_gpus_of_a_node(world, monkeypatch):
    """Rank r takes GPU r modulo 2, as in one training of all ranks, though each is the only rank of its part."""
    monkeypatch.setattr(devices, "discover", lambda asked, node: VisibleGpus(node, ("A", "B")))
    taken = []
    monkeypatch.setattr(devices, "open_device", lambda slot, precision: taken.append(slot) or CPU)
    monkeypatch.setattr(devices, "use_device", lambda device, world, **options: None)
    devices.share_devices(Config(), world)
    try:
        with Made() as made:
            own = Part(world, [world.rank]).world(lambda text: None)
            devices.take_device(Config(), own)
            own.close()
        made.free()
    finally:
        world.gpu_slot = None
    assert taken == [GpuSlot(world.rank % 2, (world.size + 1 - world.rank % 2) // 2)]
    world.barrier()
