"""A stand-in for NCCL between devices without hardware: its calls, with their waits, by messages of MPI.

As on a GPU, a call holds its stream until the other end's call has its turn, so ranks that call in other orders wait
for ever: here, until a time-out. The receiver tells the sender that its turn has come, and then the sender reads its
array. Calls of two ranks have no tags: they are matched in the order of both streams. Calls are made as late as they
may be, when somebody asks for an event after them, or as early. The first call of two ranks in one direction blocks the
host until the other end makes it, too, since they connect.
"""

import os
import time

import numpy as np
from mpi4py import MPI

from tests.gpu.device import ShimDevice, spoil
from tests.late import LateEvent, LateStream

GO, DATA, HELLO = 1, 2, 3  # tags, and that of an answer to the last one
PATIENCE = 60.0  # seconds for a call, while the other end computes


class Deadlock(AssertionError):
    """Ranks wait for each other's calls."""


class FakeNccl:
    """A group of NCCL.

    Parameters
    ----------
    comm : MPI.Comm
        Its ranks, for the group alone.
    device : ShimDevice
        Of this rank.
    is_early : bool
        Calls are made as early as the other end permits.
    patience : float
        Seconds after which a call that is not over counts as one that never ends.
    """

    def __init__(self, comm, device, is_early=False, patience=PATIENCE):
        self.comm, self.device = comm, device
        self.stream, self.is_early, self.connected = NcclStream(device, patience), is_early, set()

    def send(self, array, peer, after):
        return self._queue(Sending(self.comm, array, peer), after)

    def receive(self, array, peer, after):
        return self._queue(Receiving(self.comm, array, peer), after)

    def _queue(self, call, after):
        assert call.raw.size > 0, "NCCL's guide says nothing of messages without bytes"
        self.stream.wait_for(after)
        self.stream.do(call)
        event = NcclEvent(self.stream, self.stream.first + len(self.stream.queue))
        self._connect(type(call), call.peer, event.place - 1)
        if self.is_early:
            self.stream.go_on(event.place)
        return event

    def _connect(self, kind, peer, place):
        """Wait for the first call of the other end; meanwhile calls before this one go on."""
        if (kind, peer) in self.connected:
            return
        self.connected.add((kind, peer))
        tag, begin = HELLO + (kind is Receiving), time.monotonic()
        requests = [self.comm.Isend(np.zeros(1, np.uint8), peer, tag)]
        requests.append(self.comm.Irecv(np.empty(1, np.uint8), peer, 2 * HELLO + 1 - tag))
        while not MPI.Request.Testall(requests):
            self.stream.go_on(place)
            if time.monotonic() - begin > self.stream.limit:
                raise Deadlock("the other end does not come to its first call")
            os.sched_yield()

    def free(self):
        assert not self.stream.queue, "calls are under way"
        self.comm.Free()


class Call:
    """A call of NCCL: it goes on without waiting, and returns whether it is over."""

    def __init__(self, comm, array, peer):
        assert array.memory.flags.c_contiguous
        self.comm, self.raw, self.peer = comm, array.memory.reshape(-1).view(np.uint8), peer
        self.memory, self.requests = array.memory, None


class Sending(Call):
    """ncclSend: the array is read when the receiver is there."""

    def __call__(self):
        if self.requests is None:
            self.requests = [self.comm.Irecv(np.empty(1, np.uint8), self.peer, GO)]
        if len(self.requests) == 1 and self.requests[0].Test():
            self.requests.append(self.comm.Isend(self.raw.copy(), self.peer, DATA))
        return len(self.requests) == 2 and self.requests[1].Test()


class Receiving(Call):
    """ncclRecv."""

    def __call__(self):
        if self.requests is None:
            spoil(self.memory)
            self.arrives = np.empty_like(self.raw)
            go = self.comm.Isend(np.zeros(1, np.uint8), self.peer, GO)
            self.requests = [go, self.comm.Irecv(self.arrives, self.peer, DATA)]
        if not MPI.Request.Testall(self.requests):
            return False
        self.raw[...] = self.arrives
        return True


class NcclStream(LateStream):
    """The stream of all calls of a group."""

    patience = 8  # more than a channel asks for one message, so that a wait that is forgotten is missed in every run

    def __init__(self, device, limit):
        super().__init__(device)
        self.limit, self.moving = limit, False

    def go_on(self, place):
        """Do what can be done without waiting, up to ``place``; return whether all is."""
        if self.moving:
            return self.first >= place
        self.moving = True
        try:
            while self.first < place and self.queue[0]() is not False:
                self.queue.pop(0)
                self.first += 1
        finally:
            self.moving = False
        return self.first >= place

    def run_until(self, place):
        before, since = self.first, time.monotonic()
        while not self.go_on(place):
            if self.moving:
                raise Deadlock("a call waits for computation that waits for the call")
            if self.first > before:
                before, since = self.first, time.monotonic()
            if time.monotonic() - since > self.limit:
                raise Deadlock("the other end does not come to this call")
            os.sched_yield()


class NcclEvent(LateEvent):
    """The end of a call; to ask for it takes no wait."""

    def done(self):
        self.polls += 1
        return self.stream.go_on(self.place) if self.polls > self.stream.patience else self.stream.first >= self.place


def give_nccl(monkeypatch, world, **how):
    """Let devices that stand for GPUs have a NCCL, and each rank a GPU of its own; ``how`` are options of FakeNccl."""

    def make(device, unique_id, size, rank):
        return FakeNccl(MPI.COMM_WORLD.Split(unique_id, rank), device, **how)

    monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}", raising=False)
    monkeypatch.setattr(ShimDevice, "make_group_id", lambda device: world.rank, raising=False)
    monkeypatch.setattr(ShimDevice, "make_group", make, raising=False)
