"""Messages of any length to ranks that wait for work, and jobs computed by groups of ranks."""

import doctest
import time

import numpy as np
import pytest

from mpitrain.comm import mailbox as mailboxes
from mpitrain.comm.mailbox import Mailbox
from mpitrain.serving.courier import Courier
from mpitrain.serving.jobs import END, Cancel, Continuation, Job, Reply
from mpitrain.serving.worker import MailPost, work

pytestmark = pytest.mark.mpi

STREAMED = Continuation(prompt="a", stream=True)


@pytest.fixture
def mailbox(world):
    made = Mailbox(world.group("data"))
    yield made
    while not made.is_idle:
        made.poll()
    world.barrier()
    made.free()


def test_the_example(alone):
    assert doctest.testmod(mailboxes).failed == 0


def test_messages_come_whole_and_in_order(world, mailbox):
    peers = [rank for rank in range(world.size) if rank != world.rank] or [0]
    sizes = (0, 1, 1000, 3_000_001)  # the last is longer than what MPI sends at once
    for size in sizes:
        for peer in peers:
            mailbox.send((size, np.full(size, world.rank, np.float32)), peer)
    found = {peer: [] for peer in peers}
    for _ in range(len(peers) * len(sizes)):
        source, (size, array) = mailbox.wait()
        assert (array == source).all()
        assert len(array) == size
        found[source].append(size)
    assert found == {peer: list(sizes) for peer in peers}
    assert mailbox.poll() is None


def test_a_rank_that_waits_sleeps(world, mailbox):
    if world.rank:
        before = time.process_time()
        assert mailbox.wait() == (0, "work")
        assert time.process_time() - before < 0.2
    else:
        time.sleep(1.0)
        for peer in range(1, world.size):
            mailbox.send("work", peer)


class Doubling:
    """A model that doubles; it fails on negative numbers."""

    def __init__(self):
        self.cancelled = []

    def predict(self, x):
        if x.min() < 0:
            raise MemoryError(f"no memory for {len(x)}")
        return 2 * x

    def write(self, asked, say, cancelled):
        say("a")
        until = time.monotonic() + 30
        while not cancelled() and time.monotonic() < until:
            time.sleep(0.001)
        self.cancelled.append(time.monotonic() < until)
        return {}


def test_jobs_and_replies(world, mailbox):
    model = Doubling()
    if world.rank:
        work(model, MailPost(mailbox))
        assert model.cancelled == [True]
        return
    replies: list[Reply] = []
    courier = Courier(mailbox, replies.append)
    courier.start()

    def replied(count):
        until = time.monotonic() + 30
        while len(replies) < count and time.monotonic() < until:
            time.sleep(0.001)
        assert len(replies) == count
        found = {reply.number: reply for reply in replies}
        replies.clear()
        return found

    others = range(1, world.size)
    for rank in others:
        for number in (rank, 100 + rank):
            courier.send(Job(number, np.full(3, float(number))), rank, expects=True)
    for number, reply in replied(2 * len(others)).items():
        np.testing.assert_array_equal(reply.result, np.full(3, 2.0 * number))
        assert reply.seconds > 0
    for rank in others:
        courier.send(Job(rank, np.full(3, -1.0)), rank, expects=True)
    assert {reply.error for reply in replied(len(others)).values()} <= {"the rank is out of memory: no memory for 3"}
    for rank in others:
        courier.send(Job(rank, request=STREAMED), rank, expects=True)
    assert {reply.piece for reply in replied(len(others)).values()} <= {"a"}
    for rank in others:
        courier.send(Cancel(rank), rank)
    replied(len(others))
    for rank in others:
        courier.send(END, rank)
    courier.end()
    courier.join(timeout=30)
    assert not courier.is_alive()
