"""Schedules that are wrong, each in its own way: all are rejected, with a message that says what is wrong."""

import pytest

from mpitrain.collectives import ScheduleError, Step, algorithm, check
from mpitrain.collectives.all_reduce import recursive_doubling, ring


def off_by_one_chunk(rank, size):
    for step in ring(rank, size):
        yield Step(step.send_to, (step.send + 1) % size, step.recv_from, step.recv, step.reduce)


def swapped_peer(rank, size):
    for step in ring(rank, size):
        yield Step(step.recv_from, step.send, step.recv_from, step.recv, step.reduce)


def forgotten_last_lap(rank, size):
    yield from list(ring(rank, size))[:-1]


def reduce_instead_of_copy(rank, size):
    for step in ring(rank, size):
        yield Step(step.send_to, step.send, step.recv_from, step.recv, True)


def copy_instead_of_reduce(rank, size):
    for step in ring(rank, size):
        yield Step(step.send_to, step.send, step.recv_from, step.recv, False)


def message_to_itself(rank, size):
    yield Step(send_to=rank, send=0, recv_from=rank, recv=0, reduce=True)


def everybody_receives_first(rank, size):
    if size > 1:
        peer = rank ^ 1 if rank ^ 1 < size else 0
        yield Step(recv_from=peer, recv=range(size), reduce=True)
        yield Step(send_to=peer, send=range(size))


def everybody_sends_first(rank, size):
    yield from list(everybody_receives_first(rank, size))[::-1]


def a_ring_of_receives(rank, size):
    if size > 1:
        yield Step(recv_from=(rank - 1) % size, recv=0, reduce=True)
        yield Step(send_to=(rank + 1) % size, send=0)


def copied_while_sent(rank, size):
    for step in recursive_doubling(rank, size):
        yield Step(step.send_to, step.send, step.recv_from, step.recv)


def a_message_too_long(rank, size):
    if rank:
        yield Step(send_to=0, send=range(size))
    for peer in range(1, size) if rank == 0 else ():
        yield Step(recv_from=peer, recv=0, reduce=True)


def nobody_receives(rank, size):
    if rank == 1:
        yield Step(send_to=0, send=0)


def no_such_rank(rank, size):
    yield Step(send_to=size, send=0)


def no_such_chunk(rank, size):
    if size > 1:
        yield Step(send_to=1 - rank, send=size, recv_from=1 - rank, recv=0)


def peer_without_chunk(rank, size):
    yield Step(send_to=0)


def not_a_step(rank, size):
    yield rank, size


def raises(rank, size):
    yield from ring(rank, size)
    raise KeyError("left")


def never_ends(rank, size):
    while True:
        yield Step()


@algorithm(rounds=lambda size: size - 1, bytes=lambda size: 1, reductions=lambda size: 1)
def promises_too_much(rank, size):
    yield from ring(rank, size)


@algorithm("all_gather", num_chunks=lambda size: size + 1)
def chunks_that_nobody_owns(rank, size):
    yield from ()


@algorithm(rounds=lambda size: 9 // (2 - size))
def divides_by_zero(rank, size):
    yield from ring(rank, size)


@algorithm(num_chunks=lambda size: size / 2)
def half_a_chunk(rank, size):
    yield from ()


@algorithm("all_gather")
def sends_what_it_has_not(rank, size):
    for step in ring(rank, size):
        yield Step(step.send_to, (step.send + 1) % size, step.recv_from, (step.recv + 1) % size)


@algorithm("scan")
def a_sum_for_a_scan(rank, size):
    yield from recursive_doubling(rank, size)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            off_by_one_chunk,
            r"sends chunk 0 in its round 0, line 11, but rank 0 takes it for chunk 1 in its round 0, line 11; both",
        ),
        (
            swapped_peer,
            r"P = 3: deadlock: rank 0 \(round 0, line 16\) waits for a message from 2, which sends to 1; rank 2",
        ),
        (
            forgotten_last_lap,
            r"P = 2: rank 0 ends without rank 1.s contribution in chunk 0 \(never received\)",
        ),
        (
            reduce_instead_of_copy,
            r"adds rank \d's contribution to chunk \d a second time in its round 1, line 25 \(rec",
        ),
        (reduce_instead_of_copy, r"\); it is the whole sum that arrives: copy it, reduce=False"),
        (
            copy_instead_of_reduce,
            "; rank 1 overwrote it with what rank 0 sent, in its round 0, line 30: reduce=True adds instead",
        ),
        (
            copy_instead_of_reduce,
            r"ends without rank 1's contribution in chunk \d \(last received from rank 1 in its round \d, line 30\)",
        ),
        (
            message_to_itself,
            "P = 1: rank 0 of 1, round 0, line 34: send_to is the rank itself; a rank cannot message itself; with",
        ),
        (everybody_receives_first, r"deadlock: rank 0 \(round 0, line 40\) waits for a message from 1; rank 1"),
        (everybody_receives_first, "; all of them receive first: one must send first, or send and receive in one Step"),
        (
            everybody_sends_first,
            "; all of them send first, and nothing is buffered: one must receive first, or do both",
        ),
        (
            a_ring_of_receives,
            r"P = 2: deadlock: rank 0 \(round 0, line 50\) waits for a message from 1; rank 1 ",
        ),
        (copied_while_sent, r"chunk 0 is sent and overwritten at the same time \(a data race\)"),
        (
            a_message_too_long,
            r"sends 2 in its round 0, line 61 \(chunks 0 to 1\), but rank 0 receives 1 in its round 0, line 63 \(ch",
        ),
        (nobody_receives, r"deadlock: rank 1 \(round 0, line 68\) waits for 0 to receive; rank 0 has finished"),
        (no_such_rank, "send_to is 1, but there is no rank but 0"),
        (no_such_chunk, "send is 2, but chunks go from 0 to 1"),
        (peer_without_chunk, "send_to and send must both be given or both be None"),
        (not_a_step, "a schedule yields Step objects, not tuple"),
        (raises, "the schedule fails with KeyError: 'left'"),
        (never_ends, "still yielding after 101000 steps \\(line \\d+\\); does the loop there end"),
        (promises_too_much, "P = 2: 1 rounds are promised \\(line \\d+\\), but it takes 2"),
        (chunks_that_nobody_owns, "P = 2: the number of chunks is 3 \\(line \\d+\\), but must be a multiple of 2"),
        (divides_by_zero, "P = 2: its rounds fails with ZeroDivisionError: "),
        (half_a_chunk, "P = 1: its num_chunks \\(line \\d+\\) is 0.5 \\(float\\), but must be a whole number; / gives"),
        (sends_what_it_has_not, r"P = 2: rank 0 sends chunk 1 before anything is in it"),
        (a_sum_for_a_scan, "rank 0 ends with rank 1's contribution in chunk 0, where it must not be"),
    ],
)
def test_broken_schedules_are_rejected(schedule, message):
    with pytest.raises(ScheduleError, match=message) as caught:
        check(schedule, 5)
    assert not str(caught.value).endswith(".")
