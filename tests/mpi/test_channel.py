"""Messages between two ranks: NumPy arrays, and ends that do not match."""

import doctest
import itertools
import time

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.comm import channel as channels
from mpitrain.comm.channel import Channel
from mpitrain.comm.group import Group
from mpitrain.comm.schedule.message import HEADER_BYTES
from mpitrain.errors import UserError
from tests.channels import around, open_channel, values
from tests.gpu.device import ShimDevice

pytestmark = pytest.mark.mpi


@pytest.fixture
def channel(world):
    made = open_channel(world)
    yield made
    assert not made._in_flight
    made.free()


def test_around_a_ring(world, channel):
    right, left = around(world)
    for dtype in (np.float32, np.float64, np.uint8, np.int16):
        for shape in ((), (3,), (2, 0, 4), (5, 7), (HEADER_BYTES,)):
            mine, x = np.full(shape, world.rank + 1, dtype), np.zeros(shape, dtype)
            arrives = channel.receive(x, left, 3)
            channel.send(mine, right, 3).wait()
            arrives.wait()
            assert arrives.over
            assert arrives.done()
            np.testing.assert_array_equal(x, np.full(shape, left + 1, dtype))


def test_messages_with_the_same_tag_arrive_in_order(world, channel):
    right, left = around(world)
    into = np.zeros((20, 4))
    arrivals = [channel.receive(row, left, 1) for row in into[:10]]  # the others come before they are asked for
    sends = [channel.send(np.full(4, float(k)), right, 1) for k in range(20)]
    arrivals += [channel.receive(row, left, 1) for row in into[10:]]
    for message in reversed(arrivals + sends):
        message.wait()
    np.testing.assert_array_equal(into, np.repeat(np.arange(20.0), 4).reshape(20, 4))


def test_many_tags_in_flight(world, channel):
    """More messages than are kept in flight without a test, received in another order than they are sent."""
    right, left = around(world)
    count = 3 * channels.SWEEP
    into = np.zeros((count, 50))
    arrivals = [
        channel.receive(into[tag], left, tag, f"activation {tag} from the left") for tag in reversed(range(count))
    ]
    for tag in range(count):
        channel.send(values(50, world.rank, tag), right, tag)  # nothing but the channel knows of it from here on
    for message in arrivals:
        message.wait()
    for tag in range(count):
        np.testing.assert_array_equal(into[tag], values(50, left, tag))
    world.barrier()
    while channel._in_flight:
        channel.poll()


def test_sends_that_nothing_waits_for_are_not_kept(world, channel):
    right, left = around(world)
    pending, x = channel.receive(np.zeros(1), left, 1), np.zeros(1)
    for k in range(10 * channels.SWEEP):
        arrives = channel.receive(x, left)
        channel.send(np.full(1, float(k)), right)
        arrives.wait()
        assert x[0] == k
        assert len(channel._in_flight) <= channels.SWEEP + 2
    channel.send(np.ones(1), right, 1).wait()
    pending.wait()
    world.barrier()
    while channel._in_flight:
        channel.poll()


def test_messages_longer_than_mpi_may_take(world, monkeypatch):
    monkeypatch.setattr(channels, "MAX_MESSAGE_BYTES", 1000)
    channel, (right, left) = open_channel(world), around(world)
    for num_elements in (125, 126, 1000, 4001):
        x = np.zeros(num_elements)
        arrives = channel.receive(x, left)
        send = channel.send(values(num_elements, world.rank), right)
        assert len(send._pieces) == 1 + -(-num_elements // 125)
        send.wait()
        arrives.wait()
        np.testing.assert_array_equal(x, values(num_elements, left))
    channel.free()


def test_a_long_message(world, channel):
    """A message of 8 MB: MPI moves it only when both ends are there."""
    right, left = around(world)
    mine, x = np.full(1 << 20, world.rank + 1.0), np.zeros(1 << 20)
    arrives, send = channel.receive(x, left), channel.send(mine, right)
    while not (arrives.over and send.over):
        channel.poll()
    assert (x == left + 1).all()


def test_a_wait_serves_other_messages(world, channel):
    """The other end waits until the first message is taken, before it sends the one that is waited for here."""
    if world.rank == 0 < world.size - 1:
        x, y = np.zeros(200_000), np.zeros(3)
        first, second = channel.receive(x, 1, 1), channel.receive(y, 1, 2)
        second.wait()
        first.wait()
        assert (x == 1).all()
        assert (y == 2).all()
    if world.rank == 1:
        channel.send(np.ones(200_000), 0, 1).wait()
        channel.send(np.full(3, 2.0), 0, 2).wait()


def test_collectives_and_other_channels_do_not_mix_in(world, channel):
    other, (right, left) = Channel(channel.group), around(world)
    x, y = np.zeros(10), np.zeros(10)
    arrivals = [channel.receive(x, left, 1), other.receive(y, left, 1)]
    sends = [other.send(np.full(10, 2.0), right, 1)]
    assert channel.group.all_reduce(np.ones(3), "ring")[0] == world.size
    sends += [channel.send(np.full(10, 1.0), right, 1)]
    for message in arrivals + sends:
        message.wait()
    assert (x == 1).all()
    assert (y == 2).all()
    other.free()


LENGTHS = (0, 3, HEADER_BYTES, 2000, 70_000)  # bytes: sent at once, or when the other end is there


@pytest.mark.parametrize("before", [None, *LENGTHS])
def test_lengths_that_differ(world, before):
    """The receiver says so, whatever was sent before, and whether the message or the receive comes first."""
    channel = open_channel(world)
    for tag, (sent, expected) in enumerate(itertools.permutations(LENGTHS, 2)):
        if before is not None:
            send_and_receive(world, channel, before, before, tag)
        with pytest.raises(UserError) as error:
            send_and_receive(world, channel, sent, expected, tag, early=tag % 2 == 0)
        left = around(world)[1]
        has = f"{sent:,} bytes, but {expected:,}"
        name = f"the gradient of microbatch {tag} from stage 9 (rank {left})"
        assert str(error.value) == f"{name} has {has} are expected here: both ends must give the same length"
    assert not channel._in_flight
    channel.free()


def send_and_receive(world, channel, sent, expected, tag, early=True):
    """Send around a ring, also if the receiver raises; what it has not received is taken from MPI."""
    right, left = around(world)
    x = np.zeros(expected, np.uint8)
    label = f"gradient of microbatch {tag} from stage 9"
    arrives = channel.receive(x, left, tag, label) if early else None
    world.barrier()
    send = channel.send(np.full(sent, 1 + tag % 200, np.uint8), right, tag)
    if not early:
        world.barrier()
        arrives = channel.receive(x, left, tag, label)
    try:
        arrives.wait()
        assert (x == 1 + tag % 200).all()
    except UserError:
        status = MPI.Status()
        for _ in send._pieces[1:]:
            channel.comm.Probe(left, tag, status)
            channel.comm.Recv(np.empty(status.Get_count(MPI.BYTE), np.uint8), left, tag)
        raise
    finally:
        send.wait()
        world.barrier()


@pytest.mark.parametrize(
    ("sent", "expected"), [(2000, 3000), (3000, 2000), (2000, 500), (2000, 9), (9, 2000), (500, 2000)]
)
def test_lengths_that_differ_in_pieces(world, monkeypatch, sent, expected):
    """Also where the ends cut the message into other pieces."""
    monkeypatch.setattr(channels, "MAX_MESSAGE_BYTES", 1000)
    channel = open_channel(world)
    with pytest.raises(UserError, match=f" from stage 9 .* has {sent:,} bytes, but {expected:,} are expected here"):
        send_and_receive(world, channel, sent, expected, 1)


def test_no_message_comes_into_a_shorter_array(world):
    """A longer one than the last finds none of the receives that wait for others of that length."""
    channel, (right, left) = open_channel(world), around(world)
    send_and_receive(world, channel, 2000, 2000, 1)
    into = np.zeros((3, 2000), np.uint8)
    arrivals = [channel.receive(x, left, 1) for x in into]
    world.barrier()
    send = channel.send(np.ones(70_000, np.uint8), right, 1)
    for ask in (arrivals[0].wait, arrivals[1].done, arrivals[2].wait, arrivals[0].done):
        with pytest.raises(UserError, match=" has 70,000 bytes, but 2,000 are expected here"):
            ask()
    assert not into[1:].any()
    assert np.count_nonzero(into[0]) == np.count_nonzero(np.array([70_000]).view(np.uint8)), "more than the header"
    channel.comm.Recv(np.empty(70_000, np.uint8), left, 1)
    send.wait()
    world.barrier()


def test_mistakes_are_refused(world, channel):
    x, size = np.zeros((4, 4)), world.size
    for peer in (-1, size):
        with pytest.raises(UserError, match=f"there is no rank {peer} on axis pipe, which has {size} ranks"):
            channel.send(x, peer)
        with pytest.raises(UserError, match=f"there is no rank {peer} "):
            channel.receive(x, peer)
    with pytest.raises(UserError, match="the tag of a message is -1, but must be from 0 to "):
        channel.receive(x, 0, -1)
    with pytest.raises(UserError, match="the tag of a message is "):
        channel.send(x, 0, channel._most_tag + 1)
    with pytest.raises(UserError, match=r"an array of shape \(4, 2\) is not contiguous"):
        channel.send(x[:, ::2], 0)
    with pytest.raises(UserError, match="the array is on a device: all ranks must call use_staging"):
        channel.send(ShimDevice().zeros((3,)), 0)


def test_waits_are_recorded(world, channel):
    """Only waits are: a message that is there already costs no entry."""
    if world.size == 1:
        return
    x, seen = np.zeros(3), []
    for number in range(2):
        label = "activation of microbatch 3"
        arrives = channel.receive(x, 0, 4, f"{label} from stage 0") if world.rank == 1 else None
        world.barrier()
        if world.rank == 0:
            time.sleep(0.05)
            channel.send(np.ones(3), 1, 4, f"{label} to stage 1").wait()
        if world.rank == 1:
            while number == 1 and not arrives.done():
                pass
            arrives.wait()
            seen.append([entry for entry in world.ledger.mine.entries() if entry.peer >= 0][-1])
            assert seen[number].text == f"for the {label} from stage 0 (rank 0)"
            assert (seen[number].peer, seen[number].number) == (0, 0)
            assert seen[number].ended >= seen[number].waits > 0
            assert seen[number].seq == seen[0].seq


def test_a_program_without_a_world(world):
    channel, (right, left) = Channel(Group(MPI.COMM_WORLD, "pipe")), around(world)
    x = np.zeros(3)
    arrives = channel.receive(x, left)
    channel.send(np.full(3, world.rank + 1.0), right).wait()
    arrives.wait()
    assert (x == left + 1).all()
    channel.free()


def test_examples():
    found = doctest.testmod(channels)
    assert (found.failed, found.attempted > 2) == (0, True)
