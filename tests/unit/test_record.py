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


def test_ranks_in_words():
    assert say_ranks([3]) == "rank 3"
    assert say_ranks([0, 1, 4]) == "ranks 0, 1 and 4"
    assert say_ranks(list(range(20))) == "ranks 0-19"
    assert say_ranks([0, 1, 2, 5, 6, 8]) == "ranks 0-2, 5, 6 and 8"
    assert say_ranks(list(range(0, 40, 2))) == "20 ranks (0, 2, 4, 6, 8, 10 ...)"
