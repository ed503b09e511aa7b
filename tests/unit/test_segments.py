"""Segments of messages from device memory, and the order of their stages: counted, without MPI."""

import itertools

import numpy as np
import pytest

from mpitrain.collectives import COLLECTIVES, find, names
from mpitrain.comm.schedule import segments
from mpitrain.comm.schedule.rounds import Memory
from mpitrain.comm.schedule.segments import Cut, Segment, Span, Transfer, cut_spans, cut_transfers, segment_elements
from mpitrain.comm.schedule.staged import StagedPlan
from mpitrain.comm.schedule.staging import HostStaging
from tests.fake_device import FakeDevice, FakeStream
from tests.late import LateEvent

ALGORITHMS = [name for c in COLLECTIVES if c not in ("barrier", "all_to_all", "halo_exchange") for name in names(c)]


def seconds(num_pieces, num_bytes):
    """Return the time of three stages, in units of the time per byte."""
    return (num_pieces + 2) * (segments.COST_BYTES + num_bytes / num_pieces)


@pytest.mark.parametrize("num_bytes", [4, 1 << 16, 1 << 20, 7_000_000, 25 << 20, 1 << 30])
def test_the_number_of_pieces_is_near_the_best(num_bytes):
    each = segment_elements(num_bytes // 4, 4, 1 << 30)
    assert (each * 4) % segments.STEP_BYTES == 0
    count = -(-num_bytes // (4 * each))
    best = min(seconds(k, num_bytes) for k in range(1, 200))
    assert seconds(count, num_bytes) <= 1.1 * best
    assert (count == 1) == (num_bytes < 1 << 20)


def test_no_piece_is_longer_than_a_message_may_be():
    assert segment_elements(1 << 28, 4, 1 << 20) == 1 << 18
    assert Cut(4, 1 << 20, whole=True).elements(10) == 1 << 18


def test_spans_are_cut_in_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        bounds = np.sort(rng.choice(100, 6, replace=False))
        spans = [Span(0, int(a), int(b)) for a, b in bounds.reshape(3, 2)]
        each = int(rng.integers(1, 40))
        cut = cut_spans(spans, each)
        elements = [[i for span in segment for i in range(span.start, span.stop)] for segment in cut]
        assert list(itertools.chain(*elements)) == [i for span in spans for i in range(span.start, span.stop)]
        assert all(len(segment) == each for segment in elements[:-1])


def test_what_a_piece_waits_for():
    """The second half of what came in step 0 goes on in step 1, and its first half is overwritten."""
    half = Span(0, 0, 4), Span(0, 4, 8)
    going = [Transfer(0, 1, [Span(0, 8, 12)]), Transfer(1, 1, [half[1]])]
    coming = [Transfer(0, 1, half, reduce=True), Transfer(1, 1, [half[0]])]
    sent, taken = cut_transfers(going, coming, Cut(4, 16, whole=True))
    assert [segment.after for segment in sent] == [0, 2]
    assert [segment.after for segment in taken] == [0, 0, 0]
    sent, taken = cut_transfers([Transfer(0, 1, half)], [Transfer(0, 1, half)], Cut(4, 16, whole=True))
    assert [segment.after for segment in sent] == [0, 0], "what goes is as it was before the step"
    assert [segment.after for segment in taken] == [1, 2], "nothing is written that is still to be read"
    assert cut_transfers([Transfer(0, 1, [])], [], Cut(4, 16), even_if_empty=True)[0] == [Segment(0, 1, (), False, 0)]


class Link:
    """Messages of one rank among ``size`` that go and come when the test says so."""

    def __init__(self, log, rank=0, size=2):
        self.rank, self.size, self.log = rank, size, log
        self.sends, self.receives = [], []

    def Send_init(self, buffer, peer, tag):
        self.sends.append(Message(self.log, f"send {len(self.sends)}"))
        return self.sends[-1]

    def Recv_init(self, buffer, peer, tag):
        self.receives.append(Message(self.log, f"receive {len(self.receives)}"))
        return self.receives[-1]


class Message:
    def __init__(self, log, name):
        self.log, self.name, self.through = log, name, True

    def Start(self):
        assert self.through, f"{self.name} was started twice"
        self.through = False
        self.log.append(self.name)

    def Test(self):
        return self.through

    def Free(self):
        pass


class SlowEvent(LateEvent):
    """Done when the test has let the stream go on so far."""

    def done(self):
        return self.stream.first >= self.place


class SlowStream(FakeStream):
    def record(self, timed=False):
        return SlowEvent(self, self.first + len(self.queue))


class SlowDevice(FakeDevice):
    def stream(self):
        return SlowStream(self)


@pytest.fixture
def _small_pieces(monkeypatch):
    monkeypatch.setattr(segments, "COST_BYTES", 64)
    monkeypatch.setattr(segments, "STEP_BYTES", 4)


@pytest.mark.usefixtures("_small_pieces")
def test_copies_messages_and_sums_overlap():
    """The second segment is copied down while the first is on the wire, and the third while the first is added."""
    log, device = [], SlowDevice()
    link, staging = Link(log), HostStaging(device)
    buffer = device.array(np.ones(32, np.float32))
    plan = StagedPlan(link, find("recursive_doubling"), buffer, staging=staging)
    down, up = plan._staging._down, plan._staging._stream
    count = plan.messages
    assert count == 2 == len(link.receives)
    plan.start()
    assert log == [f"receive {k}" for k in range(count)], "nothing is sent that is not there"
    down.run_until(2)  # what was computed before, and the first copy
    plan.poll()
    assert log[count:] == ["send 0"]
    assert not plan._copy_events[1].done(), "the second copy has not ended, and the first message goes"
    link.receives[0].through = True
    plan.poll()
    assert plan._taken == 1, "the first segment was asked to go up and be added"
    assert not plan._copy_events[1].done()
    assert not link.sends[0].through
    up.run_until(3)  # the wait for what was computed, the copy, the sum
    assert plan._add_events[0].done()
    link.receives[1].through = True
    plan.poll()
    assert plan._taken == 1, "the second must not be added before it was read"
    down.run_until(3)
    plan.poll()
    assert log[count:] == ["send 0", "send 1"]
    assert plan._taken == 2
    assert not plan.poll()
    link.sends[0].through = link.sends[1].through = True
    assert plan.poll()


@pytest.mark.usefixtures("_small_pieces")
def test_a_piece_of_the_next_round_does_not_wait_for_the_whole_round():
    log, device = [], SlowDevice()
    link = Link(log, size=4)
    plan = StagedPlan(link, find("ring"), device.array(np.ones(4 * 64, np.float32)), staging=HostStaging(device))
    of_a_round = plan.messages // 6
    assert of_a_round > 1
    down = plan._staging._down
    plan.start()
    down.run_until(1 + of_a_round)
    plan.poll()
    link.receives[0].through = True
    plan.poll()
    assert plan._copied == of_a_round + 1, "the first segment of the second round was asked to come down"
    down.run_until(1 + of_a_round + 2)  # a wait for the sum, and the copy
    plan.poll()
    assert f"send {of_a_round}" in log
    assert not link.receives[1].through, "while the second segment of the first round is not there"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_is_read_too_early_or_overwritten_too_late(algorithm):
    """All segments of all ranks, run in an order that knows only ``after`` and the order of each list."""
    found = find(algorithm)
    for size, num_elements in itertools.product((2, 3, 5, 8), (1, 37)):
        cut = [pieces_of(found, rank, size, num_elements) for rank in range(size)]
        ours = run_by_after(cut, size, num_elements, np.random.default_rng(size))
        whole = [pieces_of(found, rank, size, num_elements, whole=True) for rank in range(size)]
        theirs = run_by_after(whole, size, num_elements, None)
        np.testing.assert_array_equal(ours, theirs)


def pieces_of(algorithm, rank, size, num_elements, whole=False):
    memory = Memory(algorithm, size, np.zeros(num_elements))
    going, coming = [], []
    for number, step in enumerate(algorithm(rank, size)):
        if step.send_to is not None:
            going.append(Transfer(number, step.send_to, memory.spans(step.send)))
        if step.recv_from is not None:
            coming.append(Transfer(number, step.recv_from, memory.spans(step.recv), step.reduce))
    return cut_transfers(going, coming, Cut(8, 8 * (1000 if whole else 3), whole=True))


def run_by_after(cut, size, num_elements, rng):
    """Return all buffers; whatever may go on does so at random, or rank by rank where there is no ``rng``."""
    buffers = np.random.default_rng(1).integers(0, 100, (size, num_elements))
    wires = {(a, b): [] for a in range(size) for b in range(size)}
    sent, taken = [0] * size, [0] * size

    def send(rank):
        segment = cut[rank][0][sent[rank]]
        if segment.after > taken[rank]:
            return False
        wires[rank, segment.peer].append([buffers[rank, s.start : s.stop].copy() for s in segment.spans])
        sent[rank] += 1
        return True

    def take(rank):
        segment = cut[rank][1][taken[rank]]
        if segment.after > sent[rank] or not wires[segment.peer, rank]:
            return False
        arrived = np.concatenate(wires[segment.peer, rank].pop(0))
        for span in segment.spans:
            part, arrived = arrived[: span.stop - span.start], arrived[span.stop - span.start :]
            target = buffers[rank, span.start : span.stop]
            target[...] = target + part if segment.reduce else part
        taken[rank] += 1
        return True

    while True:
        moves = [(send, r) for r in range(size) if sent[r] < len(cut[r][0])]
        moves += [(take, r) for r in range(size) if taken[r] < len(cut[r][1])]
        if not moves:
            return buffers
        if rng is not None:
            rng.shuffle(moves)
        assert any(move(rank) for move, rank in moves), "nothing can go on"
