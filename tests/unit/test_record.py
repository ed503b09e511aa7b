"""Reports of the ledger on ranks, read from slots that are filled by hand."""

import itertools
import os
import subprocess
import sys

import pytest

from mpitrain.comm.watch.hang_report import RankStatus, rank_statuses, report, say_ranks
from mpitrain.comm.watch.ledger import Ledger
from mpitrain.comm.watch.slot import (
    ENTRIES,
    HISTORIES,
    LABELS,
    SLOT_BYTES,
    Fact,
    Record,
    first_difference,
    process_space,
    process_state,
)
from mpitrain.comm.watch.stacks import answer_with_stacks, describe_activity, parse_stacks


class Alone:
    """A communicator of one."""

    rank, size = 0, 1

    def bcast(self, item):
        return item

    def allgather(self, item):
        return [item]

    def Barrier(self):
        pass


@pytest.fixture
def ledger():
    return Ledger(Alone(), 0)


def test_entries_come_back_as_they_were_noted(ledger):
    first = ledger.begin(ledger.label("one", compared="one"))
    ledger.end(first)
    second = ledger.begin(ledger.label("two"), waits=False)
    one, two = ledger.mine.entries()
    assert (one.text, one.number, two.text, two.number) == ("one", 1, "two", 0)
    assert one.began == one.waits <= one.ended
    assert ledger.mine.wait() is None
    ledger.waits(second)
    assert ledger.mine.wait().text == "two"
    assert ledger.mine.last().text == "one"


def test_the_ring_keeps_the_last(ledger):
    for _ in range(3 * ENTRIES):
        ledger.end(ledger.begin(ledger.label("call", compared="call")))
    entries = ledger.mine.entries()
    assert [entry.number for entry in entries] == list(range(2 * ENTRIES + 1, 3 * ENTRIES + 1))


def test_too_many_labels_do_no_harm(ledger):
    for number in range(2 * LABELS):
        ledger.end(ledger.begin(ledger.label(f"call {number}")))
    texts = [entry.text for entry in ledger.mine.entries()]
    assert set(texts) == {"something (there were too many kinds of calls to keep their names)"}


def history(*calls):
    ledger = Ledger(Alone(), 0)
    for call in calls:
        ledger.end(ledger.begin(ledger.label(call, compared=call)))
    return ledger


def difference(*histories):
    return first_difference([(rank, history(*calls).mine.entries()) for rank, calls in enumerate(histories)])


def test_the_first_difference_is_named():
    assert difference("abc", "abc", "ab") is None
    assert difference("abc", "abc", "abd").startswith("rank 2's collective number 3 is d, but rank 0's is c: ")
    assert difference("abc", "acc", "abc").startswith("rank 1's collective number 2 is c, but rank 0's is b: ")


def test_a_difference_that_is_no_longer_on_record():
    found = difference("x" + "a" * 2 * ENTRIES, "y" + "a" * 2 * ENTRIES)
    assert found.startswith("the ranks' collectives differ since before number ")


def test_fingerprints_tell_orders_apart():
    found = {"".join(order): history(*order).fingerprint for order in itertools.permutations("abcd")}
    assert len(set(found.values())) == len(found)
    assert history(*"abcd").fingerprint == found["abcd"]


def test_stacks_of_threads_are_told_apart():
    text = """Thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3.11/queue.py", line 140 in put
  File "/usr/lib/python3.11/threading.py", line 982 in run

Current thread 0x00007f0000000002 (most recent call first):
  File "/home/me/train.py", line 7 in step
  File "<frozen runpy>", line 88 in _run_code
"""
    assert parse_stacks(text) == {
        0x7F0000000001: [("python3.11/queue.py", "140", "put")],
        0x7F0000000002: [("me/train.py", "7", "step"), ("<frozen runpy>", "88", "_run_code")],
    }


def test_a_process_tells_where_it_is(ledger):
    answer_with_stacks(ledger)
    assert "in test_a_process_tells_where_it_is" in describe_activity(ledger, ledger.mine)


def test_a_process_that_is_gone(ledger):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    slot = Record(memoryview(bytearray(SLOT_BYTES)))
    slot.doubles[Fact.PID], slot.doubles[Fact.SPACE] = child.pid, process_space()
    child.wait(timeout=60)
    assert process_state(child.pid) == ""
    assert describe_activity(ledger, slot) == "is gone"
    slot.doubles[Fact.PID] = os.getpid()  # but of another start: the id was given again
    assert describe_activity(ledger, slot) == "is gone"
    slot.doubles[Fact.SPACE] = -1.0  # in another container
    assert describe_activity(ledger, slot) == "cannot be inspected from here"


def test_the_report_says_who_is_late(ledger):
    late = Record(memoryview(bytearray(SLOT_BYTES)))
    late.doubles[Fact.RANK] = 1
    ledger.records.append(late)
    ledger.begin(ledger.label("the big sum", compared="sum"))
    first, *others = report(rank_statuses(ledger), 2, "no progress").splitlines()
    assert first == "mpitrain: no progress: rank 1 is late"
    assert others == [
        "  rank 0 waits in collective number 1: the big sum",
        "  rank 1 has left the program",
    ]


def test_the_report_of_several_nodes(ledger):
    ledger.begin(ledger.label("the big sum", compared="sum"))
    (here,) = rank_statuses(ledger)
    there = RankStatus(3, "h9", None, False, "is at train.py:3 in augment", here.history)
    assert report([here], 4, "no progress").splitlines()[0].endswith("rank 0 waits for ranks of other nodes")
    first, *others = report([there, here], 4, "no progress", asked=True).splitlines()
    assert first == "mpitrain: no progress: ranks 1-3 are late"
    assert others == [
        "  rank 0 waits in collective number 1: the big sum",
        "  rank 3 (h9) is at train.py:3 in augment",
        "  ranks 1 and 2 are not heard of: stopped, gone, or cut off from the network",
    ]


def waits_for(rank, peer, text, **facts):
    """Return the status of a rank that waits for a message."""
    ledger = Ledger(Alone(), rank)
    ledger.begin_message(text, peer)
    if "stage" in facts:
        ledger.name_stages([facts["stage"]])
    (status,) = rank_statuses(ledger)
    return status


def test_waits_for_messages():
    """Each names its other end and the activity of that rank, also if that waits for a message itself."""
    first = waits_for(4, 5, "for the gradient of microbatch 0 from stage 2 (rank 5)", stage=1)
    second = waits_for(5, 7, "for the gradient of microbatch 3 from stage 3 (rank 7)", stage=2)
    third = waits_for(6, 9, "to send the halo (rank 9)")
    late = RankStatus(7, first.host, None, False, "is at train.py:3 in augment, from loop.py:8 in step", (), "stage 3")
    text, *others = report([late, second, first, third], 10, "no progress").splitlines()
    assert text == "mpitrain: no progress: stage 3 (rank 7) is late"
    assert others == [
        "  stage 1 (rank 4) waits for the gradient of microbatch 0 from stage 2 (rank 5), "
        "which waits for the gradient of microbatch 3 from stage 3 (rank 7)",
        "  stage 2 (rank 5) waits for the gradient of microbatch 3 from stage 3 (rank 7), "
        "which is at train.py:3 in augment",
        "  rank 6 waits to send the halo (rank 9)",
        "  stage 3 (rank 7) is at train.py:3 in augment, from loop.py:8 in step",
    ]
    asked = report([late, second, first, third], 10, "no progress", asked=True)
    assert "rank 6 waits to send the halo (rank 9), which is not heard of\n" in asked


def test_ranks_that_wait_for_each_other(ledger):
    circle = [waits_for(0, 2, "for a"), waits_for(1, 0, "for b"), waits_for(2, 0, "to send c")]
    assert (
        report(circle, 3, "no progress")
        .splitlines()[0]
        .endswith(": no progress: ranks 0 and 2 wait for messages from each other")
    )
    ledger.begin(ledger.label("the big sum", compared="sum"))
    (sums,) = rank_statuses(ledger)
    never_sent = report([sums, waits_for(1, 0, "for b (rank 0)")], 2, "no progress").splitlines()
    assert never_sent == [
        "mpitrain: no progress: the ranks wait in different calls",
        "  rank 0 waits in collective number 1: the big sum",
        "  rank 1 waits for b (rank 0), which waits in collective number 1: the big sum",
    ]
    alone = report([waits_for(0, 0, "for a")], 1, "no progress").splitlines()[0]
    assert alone.endswith("all ranks wait in the same call: a message is lost, or the network does not move")


def test_texts_of_messages_are_those_of_their_entries(ledger):
    """However many there are: each has the room of its entry."""
    for number in range(3 * LABELS):
        ledger.end(ledger.begin_message(f"for number {number} " + "." * (number % 150), 1))
    texts = [entry.text.rstrip(".") for entry in ledger.mine.entries()]
    assert texts == [f"for number {number} " for number in range(3 * LABELS - ENTRIES, 3 * LABELS)]
    assert {entry.peer for entry in ledger.mine.entries()} == {1}
    ledger.end(ledger.begin(ledger.label("a call", compared="a call")))
    assert ledger.mine.entries()[-1].peer == -1
    assert ledger.mine.entries()[-1].text == "a call"


def axis_history(rank, calls):
    """Return a rank's entries: of each letter a call of all, of each digit one on an axis."""
    ledger = Ledger(Alone(), rank)
    axis = ledger.history(" on axis pipe (ranks 4 and 5)", [4, 5])
    for call in calls:
        history = axis if call.isdigit() else None
        ledger.end(ledger.begin(ledger.label(call, compared=call, history=history)))
    return rank, ledger.mine.entries()


def test_histories_of_axes_are_compared_by_themselves():
    """The order of calls on one axis and on another is free, as long as each has its own order."""
    assert first_difference([axis_history(4, "a1b2"), axis_history(5, "12ab"), axis_history(6, "ab")]) is None
    found = first_difference([axis_history(4, "a1b2"), axis_history(5, "a1b3"), axis_history(6, "a1b2")])
    assert found.startswith("rank 5's collective number 2 is 3, but rank 4's is 2: ")
    found = first_difference([axis_history(4, "1" + "2" * 2 * ENTRIES), axis_history(5, "3" + "2" * 2 * ENTRIES)])
    assert found.startswith("the ranks' collectives on axis pipe (ranks 4 and 5) differ since before number ")


def test_more_groups_than_have_room():
    ledger = Ledger(Alone(), 0)
    made = [ledger.history(f" on axis {number}", [0]) for number in range(2 * HISTORIES)]
    assert [history is not None for history in made] == [number < HISTORIES - 1 for number in range(2 * HISTORIES)]
    assert ledger.history(" on axis 3", [0]) is made[3]


def test_histories_begin_again_after_a_loss():
    ledger = Ledger(Alone(), 0)
    old = ledger.history(" on axis pipe", [0, 1])
    ledger.end(ledger.begin(ledger.label("sum", compared="sum", history=old)))
    ledger.restart(0)
    new = ledger.history(" on axis pipe", [0, 1])
    assert new is not old
    ledger.end(ledger.begin(ledger.label("sum", compared="sum", history=new)))
    assert [entry.ordinal for entry in ledger.mine.entries()] == [1]
    assert new.number > old.number + ENTRIES


def test_the_last_call_names_its_axis(ledger):
    history = ledger.history(" on axis pipe (ranks 0 and 4)", [0, 4])
    ledger.end(ledger.begin(ledger.label("sum", compared="sum", history=history)))
    ledger.leave()
    assert "; its last collective was number 1 on axis pipe (ranks 0 and 4), 0 s ago" in rank_statuses(ledger)[0].does


def test_ranks_in_words():
    assert say_ranks([3]) == "rank 3"
    assert say_ranks([0, 1, 4]) == "ranks 0, 1 and 4"
    assert say_ranks(list(range(20))) == "ranks 0-19"
    assert say_ranks([0, 1, 2, 5, 6, 8]) == "ranks 0-2, 5, 6 and 8"
    assert say_ranks(list(range(0, 40, 2))) == "20 ranks (0, 2, 4, 6, 8, 10 ...)"


def test_tasks_of_a_pipeline(ledger):
    """The task of a late rank is in the report, with the stage where the rank has several."""
    answer_with_stacks(ledger)
    ledger.name_stages([2])
    ledger.begin_task("B", 2, 7)
    (status,) = rank_statuses(ledger)
    assert status.name == "stage 2 (rank 0)"
    assert status.does.startswith("is in the backward of microbatch 7, at ")
    ledger.name_stages([0, 2, 4])
    ledger.begin_task("F", 4, 3)
    (status,) = rank_statuses(ledger)
    assert status.name == "rank 0 (stages 0, 2 and 4)"
    assert status.does.startswith("is in the forward of microbatch 3 on stage 4, at ")
    ledger.begin_task("", 0, 0)
    assert rank_statuses(ledger)[0].does.startswith("is at ")
    ledger.name_stages([])
    assert rank_statuses(ledger)[0].name == "rank 0"
