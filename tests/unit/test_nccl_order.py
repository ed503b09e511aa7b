"""Orders in which a pipeline could call ncclSend and ncclRecv, and which of them never end (docs/decisions/0024).

Such a call holds its stream until the other end's call has its turn in its own stream. So the calls of a message at
both ends are one node of a graph, the order of each stream adds edges, and a schedule ends if there is no circle.
"""

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from mpitrain.parallel.pipeline.boxes import AHEAD
from mpitrain.pipelines import Task, find, make_program, simulate
from tests.pipeline_cases import SCHEDULES

SIZES = [(2, 4), (3, 8), (4, 8)]  # P and M


class Sent(NamedTuple):
    """A message from the task that makes it to the one that takes it."""

    made: Task
    taken: Task
    sender: int
    receiver: int

    @property
    def way(self):
        return self.sender, self.receiver


class Graph:
    """Tasks and messages of a program: what must come before what."""

    def __init__(self, program):
        self.program, self.after = program, defaultdict(set)
        self.messages = [
            Sent(need, task, program.rank_of[need.stage], rank)
            for rank, own in enumerate(program.tasks)
            for task in own
            for need in program.needs(task)
            if program.rank_of[need.stage] != rank
        ]
        for own in program.tasks:
            self.chain(own)
        for sent in self.messages:
            self.chain([sent.made, sent, sent.taken])

    def chain(self, nodes):
        """Let each node come after the one before it."""
        for before, after in pairwise(nodes):
            self.after[before].add(after)

    def order(self):
        """Return all nodes in an order that keeps all edges; None if there is a circle."""
        before = defaultdict(int)
        for nodes in self.after.values():
            for node in nodes:
                before[node] += 1
        free, found = [node for node in self.after if not before[node]], []
        while free:
            found.append(free.pop())
            for node in self.after.get(found[-1], ()):
                before[node] -= 1
                if not before[node]:
                    free.append(node)
        return found if len(found) == len({*self.after, *before}) else None

    def calls(self, rank, ahead):
        """Return the messages of a rank as they are called: receives ``ahead`` of their use, sends after the tasks."""
        inboxes, found = defaultdict(list), []
        for task in self.program.tasks[rank]:
            inboxes[task[:2]] += [sent for sent in self.messages if sent.taken == task]
        for inbox in inboxes.values():
            found += inbox[:ahead]
        for task in self.program.tasks[rank]:
            inbox = inboxes[task[:2]]
            if inbox and any(sent.taken == task for sent in inbox):
                place = [sent.taken for sent in inbox].index(task) + ahead
                found += inbox[place : place + 1]
            found += [sent for sent in self.messages if sent.made == task]
        return found

    def in_one_order(self):
        """Call all messages on one stream of each rank, in the order in which tasks of equal length make them."""
        times = simulate(self.program)
        every = zip(self.program.tasks, times.ends, strict=True)
        ends = {task: end for own in every for task, end in zip(*own, strict=True)}
        every = sorted(self.messages, key=lambda sent: (ends[sent.made], sent))
        for rank in range(self.program.size):
            self.chain([sent for sent in every if rank in sent.way])

    def limit_memory(self):
        """Receive into memory that the task before the last ``AHEAD`` of the same kind and stage has released."""
        inboxes = defaultdict(list)
        for own in self.program.tasks:
            for task in own:
                inboxes[task[:2]] += [sent for sent in self.messages if sent.taken == task]
        for inbox in inboxes.values():
            for early, late in zip(inbox, inbox[AHEAD:], strict=False):
                self.chain([early.taken, late])

    def length(self, seconds, each):
        """Return the time of a step, given that of each task and of each message."""
        ends = defaultdict(float)
        for node in self.order():
            ends[node] += seconds.get(node, each)
            for after in self.after.get(node, ()):
                ends[after] = max(ends[after], ends[node])
        return max(ends.values())


@pytest.fixture(params=[(name, *sizes) for name in SCHEDULES for sizes in SIZES], ids=str)
def program(request):
    name, size, num_microbatches = request.param
    return make_program(find(name), size, num_microbatches, name)


def test_receives_that_are_posted_early_on_one_stream_never_end(program):
    graph = Graph(program)
    assert graph.order() is not None
    for rank in range(program.size):
        graph.chain(graph.calls(rank, AHEAD))
    assert graph.order() is None


def test_a_stream_for_each_way_ends_in_the_order_of_the_sends_only(program):
    """Receives are not posted in the order of the sends if several stages of a rank send the same way."""
    posted, as_sent = Graph(program), Graph(program)
    for way in {sent.way for sent in posted.messages}:
        for rank in way:
            posted.chain([sent for sent in posted.calls(rank, AHEAD) if sent.way == way])
        as_sent.chain([sent for sent in as_sent.calls(way[0], 0) if sent.way == way])
    has_one_stage_each = program.num_stages == program.size
    assert (posted.order() is not None) == has_one_stage_each
    assert as_sent.order() is not None


@pytest.mark.parametrize("name", ["1f1b", "zb_h1", "interleaved:chunks=2"])
def test_messages_of_both_ways_cross(name):
    """A GPU that does one call after the other, as CUDA may, then waits for a GPU that waits for it."""
    graph = Graph(make_program(find(name), 2, 4))
    before = defaultdict(set)
    for node in graph.order():
        for after in graph.after.get(node, ()):
            before[after] |= {node, *before[node]}
    crossing = next(
        (one, two)
        for one in graph.messages
        for two in graph.messages
        if one.way == two.way[::-1] and one not in before[two] and two not in before[one]
    )
    for rank in range(2):  # each calls its own send first
        graph.chain(sorted(crossing, key=lambda sent: sent.sender != rank))
    assert graph.order() is None


def test_one_order_of_all_messages_ends(program):
    graph = Graph(program)
    graph.in_one_order()
    graph.limit_memory()
    assert graph.order() is not None


def test_one_order_costs_time_where_tasks_are_not_equally_long(program):
    """Tasks whose times vary by 30%, messages that take a tenth of a task: up to 10% of the median step."""
    free, bound = Graph(program), Graph(program)
    bound.in_one_order()
    rng, ratios = np.random.default_rng(0), []
    for _ in range(20):
        seconds = {task: float(np.exp(0.3 * rng.standard_normal())) for own in program.tasks for task in own}
        ratios.append(bound.length(seconds, 0.1) / free.length(seconds, 0.1))
    assert min(ratios) >= 1 - 1e-9
    assert np.median(ratios) < 1.1
