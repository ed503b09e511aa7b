"""Recorded runs: a step for each message, in the order of the schedule, on one clock."""

import pytest

from mpitrain.collectives import find
from mpitrain.collectives.draw import play
from mpitrain.comm.measure.trace import record

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("name", ["ring", "tree", "chain:segments=3", "all_to_all/bruck", "barrier/dissemination"])
def test_every_step_is_recorded(world, name):
    trace = record(world, find(name), 6000, repeats=3)
    if world.rank:
        assert trace is None
        return
    messages = play(find(name), world.size).messages
    ends = {(m.sender, m.sender_step) for m in messages} | {(m.receiver, m.receiver_step) for m in messages}
    events = {(e.rank, e.step): e for e in trace.events}
    assert set(events) == ends
    assert len(trace.events) == len(ends)
    for message in messages:
        sent, received = events[message.sender, message.sender_step], events[message.receiver, message.receiver_step]
        assert received.end >= sent.start - 2 * trace.clock_error
        assert sent.peer == message.receiver
    for (rank, step), event in events.items():
        before = events.get((rank, step - 1))
        assert before is None or before.start <= event.start
    if messages:
        assert min(e.start for e in trace.events) == 0
        assert trace.num_bytes >= 6000
        assert trace.clock_error < 0.1
