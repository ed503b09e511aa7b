"""Messages between two ranks: a device's arrays, staged or in place."""

import numpy as np
import pytest

from mpitrain.comm.schedule import segments
from mpitrain.comm.schedule.staging import HOST, DirectStaging, HostStaging
from mpitrain.device import CPU
from mpitrain.errors import UserError
from tests.channels import SIZES, around, open_channel, values
from tests.fake_device import FakeDevice
from tests.gpu.device import ShimDevice
from tests.late import Over

pytestmark = pytest.mark.mpi


@pytest.fixture
def _small_pieces(monkeypatch):
    """Cut messages of some hundred bytes as others of some megabytes."""
    monkeypatch.setattr(segments, "COST_BYTES", 512)
    monkeypatch.setattr(segments, "STEP_BYTES", 16)


def staging_of(device):
    return HOST if device is CPU else HostStaging(device)


@pytest.mark.usefixtures("_small_pieces")
def test_a_device(world, device):
    """Staged in pieces on some or all ranks: what is queued before is sent, what is queued after finds the message."""
    channel, (right, left) = open_channel(world, staging_of(device)), around(world)
    messages = []
    for k, num_elements in enumerate(SIZES * 2):
        mine, x = device.zeros((num_elements,), np.float64), device.zeros((num_elements,), np.float64)
        x += 3
        arrives = channel.receive(x, left, k)
        mine += device.from_host(values(num_elements, k, world.rank))
        messages.append((k, x, arrives, channel.send(mine, right, k)))
    for k, x, arrives, send in messages:
        arrives.wait()
        x *= 2
        np.testing.assert_array_equal(device.to_host(x), 2 * values(x.size, k, left))
        send.wait()
    channel.free()


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.timeout(30)
def test_a_wait_for_a_collective_moves_messages(world):
    """Rank 0 waits for the others in a sum, and they wait for its message, which needs its hand piece by piece."""
    device = ShimDevice()
    channel, plan = open_channel(world, HostStaging(device)), world.plan_all_reduce(np.ones(5), "ring")
    mine = device.from_host(values(3000, 0, 0))
    if world.rank == 0:
        sends = [channel.send(mine, peer) for peer in range(1, world.size)]
    else:
        x = device.zeros((3000,), np.float64)
        channel.receive(x, 0).wait()
        np.testing.assert_array_equal(device.to_host(x), values(3000, 0, 0))
    plan.start()
    plan.wait()
    assert plan.result[0] == world.size
    if world.rank == 0:
        for send in sends:
            send.wait()
    plan.free()
    channel.free()


@pytest.mark.usefixtures("_small_pieces")
def test_a_device_beside_the_host_at_one_rank(world):
    """Messages of both kinds with one tag keep their order."""
    device = ShimDevice()
    channel, (right, left) = open_channel(world, HostStaging(device)), around(world)
    into = [(device if k % 3 else CPU).zeros((300,), np.float64) for k in range(12)]
    arrivals = [channel.receive(x, left) for x in into]
    sends = [channel.send((device if k % 2 else CPU).from_host(values(300, k, world.rank)), right) for k in range(12)]
    for message in reversed(sends + arrivals):
        message.wait()
    for k, x in enumerate(into):
        np.testing.assert_array_equal(device.to_host(x), values(300, k, left))
    channel.free()


def test_page_locked_memory_is_not_used_too_early(world):
    """Messages come while the copies up of those before are still to be done."""
    device = FakeDevice()
    channel, (right, left) = open_channel(world, HostStaging(device)), around(world)
    into = [device.array(np.zeros(300)) for _ in range(5)]
    for k, x in enumerate(into):
        arrives, send = channel.receive(x, left), channel.send(values(300, k, world.rank), right)
        arrives.wait()
        send.wait()
    for k, x in enumerate(into):
        np.testing.assert_array_equal(device.values(x), values(300, k, left))
    channel.free()


def test_page_locked_memory_is_used_again(world):
    device = ShimDevice()
    channel, (right, left) = open_channel(world, HostStaging(device)), around(world)
    x, mine = device.zeros((1000,)), device.zeros((1000,))

    def exchange():
        arrives, send = channel.receive(x, left), channel.send(mine, right)
        send.wait()
        arrives.wait()
        device.to_host(x)

    for _ in range(4):
        exchange()
    before = device.pinned
    for _ in range(10):
        exchange()
    assert device.pinned == before
    assert before <= 4
    channel.free()


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("ends", ["all", "one CUDA-aware", "one with NumPy arrays"])
def test_work_that_lags(world, ends):
    """The computation lags as well as the copies, and a CUDA-aware MPI meets one that is not."""
    odd_one = world.rank == 0 and ends != "all"
    device = FakeDevice(mpi_reads=odd_one)
    staging = HostStaging(device)
    if odd_one:
        staging = DirectStaging(device) if "CUDA" in ends else HOST
    channel, (right, left) = open_channel(world, staging), around(world)
    for n in SIZES:
        if staging is HOST:
            for _ in LAGS:
                x = np.zeros(n)
                arrives, send = channel.receive(x, left), channel.send(values(n, world.rank), right)
                arrives.wait()
                send.wait()
                np.testing.assert_array_equal(x, values(n, left))
        else:
            assert all(exchange(channel, device, n, right, left, lag) for lag in LAGS)
    channel.free()


LAGS = ("late", "early")  # copies up: as late as they may be done, or as early


def exchange(channel, device, num_elements, right, left, lag):
    """Send values that are queued, and receive into an array that queued work still reads; then queue more work.

    Returns
    -------
    bool
        All values are right.
    """
    rank = channel.group.rank
    mine, x, seen, doubled = (device.array(np.full(num_elements, 7.0)) for _ in range(4))
    mine[:] = device.array(values(num_elements, rank))
    send = channel.send(mine, right)
    seen[:] = x
    arrives = channel.receive(x, left)
    send.wait()
    mine[:] = 9.0
    arrives.wait()
    if lag == "early" and isinstance(channel.group.staging, HostStaging):
        channel._devices[channel.group.staging]._lane.added().wait()
    np.add(x, x, out=doubled)
    expected = values(num_elements, left)
    pairs = (x, expected), (doubled, 2 * expected), (seen, np.full(num_elements, 7.0))
    return all(np.array_equal(device.values(array), wanted) for array, wanted in pairs)


BREAKS = {
    "copied down before it is computed": ("wait_down", lambda self, event: None),
    "sent before it is copied down": ("copied", lambda self: Over()),
    "copied up before the array is free": ("wait_up", lambda self, event: None),
    "read before it is copied up": ("end", lambda self: None),
}


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("broken", BREAKS)
def test_a_forgotten_wait_is_found(world, monkeypatch, broken):
    """Each wait is there for something: without it, some rank has wrong values."""
    monkeypatch.setattr(HostStaging, *BREAKS[broken])
    device = FakeDevice()
    channel, (right, left) = open_channel(world, HostStaging(device)), around(world)
    found = [exchange(channel, device, 400, right, left, lag) for lag in LAGS]
    assert not all(world.all_gather(all(found)))


@pytest.mark.parametrize("kind", [HostStaging, DirectStaging])
@pytest.mark.parametrize(("before", "sent", "expected"), [(0, 80, 40), (40, 80, 40), (40, 40, 80)])
def test_lengths_that_differ_on_a_device(world, kind, before, sent, expected):
    """MPI may have written the header into an array of the device: then its length is not known."""
    device = FakeDevice(mpi_reads=kind is DirectStaging)
    channel, (right, left) = open_channel(world, kind(device)), around(world)
    for out, into in ((before, before), (sent, expected)):
        arrives = channel.receive(device.array(np.zeros(into)), left)
        send = channel.send(device.array(np.ones(out)), right)
        if out == into:
            arrives.wait()
            send.wait()
    with pytest.raises(UserError) as error:
        arrives.wait()
    has = f"{8 * sent} bytes, but {8 * expected} are expected here"
    if kind is DirectStaging and before == expected:
        has = f"another number of bytes than the {8 * expected} that are expected here"
    assert f" has {has}: both ends must" in str(error.value)
    while not send.done():  # on one rank, it is not until it is received
        if channel.comm.Iprobe(left, 0):
            channel.comm.Recv(np.empty(80), left, 0)
    world.barrier()
