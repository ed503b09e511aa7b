"""Orders in which a pipeline could call ncclSend and ncclRecv, and which of them never end (docs/decisions/0024).

Such a call holds its stream until the other end's call has its turn in its own stream. So the calls of a message at
both ends are one node of a graph, the order of each stream adds edges, and a schedule ends if there is no circle.
"""

import random
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from mpitrain.parallel.pipeline.boxes import AHEAD
from mpitrain.pipelines import Task, find, handovers, in_one_order, make_program, simulate, wave
from mpitrain.pipelines.program import from_tasks
from tests.pipeline_cases import SCHEDULES

SIZES = [(2, 4), (2, 1), (3, 8), (3, 2), (4, 8), (4, 3)]  # P and M


class Graph:
    """Tasks and messages of a program: what must come before what."""

    def __init__(self, program):
        self.program, self.after = program, defaultdict(set)
        self.messages = list(handovers(program))
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

    def inboxes(self, rank):
        """Return the messages of each kind and stage of a rank, in the order of their use."""
        found = defaultdict(list)
        for sent in self.messages:
            if sent.receiver == rank:
                found[sent.taken[:2]].append(sent)
        return found

    def calls(self, rank, ahead):
        """Return the messages of a rank as they are given: receives ``ahead`` of their use, sends after the tasks."""
        inboxes = self.inboxes(rank)
        found = [sent for inbox in inboxes.values() for sent in inbox[:ahead]]
        for task in self.program.tasks[rank]:
            inbox = inboxes[task[:2]]
            if inbox and any(sent.taken == task for sent in inbox):
                place = [sent.taken for sent in inbox].index(task) + ahead
                found += inbox[place : place + 1]
            found += [sent for sent in self.messages if sent.made == task]
        return found

    def run_host(self, rank, order):
        """Add what the host of a rank does as the channel of NCCL lets it, if each call blocked it until it is over.

        Calls are made in ``order``, each as soon as all before it have been given an array.
        """
        turns = [sent for sent in order if rank in (sent.sender, sent.receiver)]
        inboxes, given, done = self.inboxes(rank), set(), []

        def give(*messages):
            given.update(messages)
            while turns and turns[0] in given:
                done.append(turns.pop(0))

        for inbox in inboxes.values():
            give(*inbox[:AHEAD])
        for task in self.program.tasks[rank]:
            inbox = inboxes[task[:2]]
            for place, sent in enumerate(inbox):
                if sent.taken == task:
                    assert sent in done, f"{task} needs a message before its turn"
                    give(*inbox[place + AHEAD : place + AHEAD + 1])
            done.append(task)
            give(*(sent for sent in self.messages if sent.made == task))
        assert not turns, "some messages are never called"
        self.chain(done)

    def in_one_order(self, order):
        """Call all messages in ``order``, on one stream of each rank."""
        for rank in range(self.program.size):
            self.chain([sent for sent in order if rank in (sent.sender, sent.receiver)])

    def length(self, seconds, each):
        """Return the time of a step, given that of each task and of each message."""
        ends = defaultdict(float)
        for node in self.order():
            ends[node] += seconds.get(node, each)
            for after in self.after.get(node, ()):
                ends[after] = max(ends[after], ends[node])
        return max(ends.values())


def way(sent):
    return sent.sender, sent.receiver


def check_one_order(timeline):
    """Prove that a program ends in the order that the product gives, whatever the times of tasks and messages are."""
    order, graph = in_one_order(timeline, AHEAD), Graph(timeline.program)
    assert sorted(order) == sorted(graph.messages)
    for rank in range(timeline.program.size):
        graph.run_host(rank, order)
    assert graph.order() is not None


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
    for both in {way(sent) for sent in posted.messages}:
        for rank in both:
            posted.chain([sent for sent in posted.calls(rank, AHEAD) if way(sent) == both])
        as_sent.chain([sent for sent in as_sent.calls(both[0], 0) if way(sent) == both])
    has_one_stage_each = program.num_stages == program.size
    if program.num_microbatches > program.size:
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
        if way(one) == way(two)[::-1] and one not in before[two] and two not in before[one]
    )
    for rank in range(2):  # each calls its own send first
        graph.chain(sorted(crossing, key=lambda sent: sent.sender != rank))
    assert graph.order() is None


def test_one_order_of_all_messages_ends(program):
    """Also where a call blocks the host, as the first one between two GPUs does, and a request for memory."""
    check_one_order(simulate(program))


@pytest.mark.parametrize("num_batches", [1, 2, 3, 9])
def test_one_order_of_an_evaluation_ends(program, num_batches):
    check_one_order(wave(program, num_batches))


@pytest.mark.parametrize("seed", range(60))
def test_one_order_of_any_program_ends(seed):
    """Ranks with any stages, in any order of tasks that is possible, and tasks of any length."""
    rng = random.Random(seed)
    program = random_program(rng)
    durations = [[rng.choice([0.1, 1.0, rng.random() + 0.01]) for _ in own] for own in program.tasks]
    check_one_order(simulate(program, durations))
    check_one_order(wave(program, rng.randint(1, 7)))


def random_program(rng):
    size, m, kinds = rng.randint(1, 4), rng.randint(1, 6), rng.choice(["FB", "FBW"])
    ranks = [*range(size), *(rng.randrange(size) for _ in range(rng.randint(0, 4)))]
    rng.shuffle(ranks)
    left = {Task(kind, stage, i) for kind in kinds for stage in range(len(ranks)) for i in range(m)}
    tasks = [[] for _ in range(size)]
    weight = {task: rng.random() for task in left}
    while left:
        ready = [task for task in left if not needs(task, len(ranks)) & left]
        task = min(ready, key=weight.get)
        left.remove(task)
        tasks[ranks[task.stage]].append(task)
    return from_tasks(tasks, m, "random")


def needs(task, num_stages):
    kind, stage, m = task
    found = {"F": [("F", stage - 1, m)], "B": [("F", stage, m), ("B", stage + 1, m)], "W": [("B", stage, m)]}[kind]
    return {Task(*one) for one in found if 0 <= one[1] < num_stages}


def test_an_order_that_does_not_end_is_found(program):
    """One rank calls the first gradient before the activation that it needs."""
    order, graph = in_one_order(simulate(program), AHEAD), Graph(program)
    gradient = next(sent for sent in order if sent.made.kind == "B")
    activation = next(sent for sent in order if sent.taken == gradient.made._replace(kind="F"))
    places = sorted(map(order.index, (activation, gradient)))
    swapped = order.copy()
    swapped[places[0]], swapped[places[1]] = gradient, activation
    graph.chain([sent for sent in swapped if activation.receiver in way(sent)])
    graph.chain([sent for sent in order if activation.sender in way(sent)])
    assert graph.order() is None
    with pytest.raises(AssertionError, match="needs a message before its turn"):
        Graph(program).run_host(activation.receiver, swapped)


@pytest.mark.parametrize(("ahead", "is_late"), [(2, True), (4, False)])
def test_a_receiver_has_memory_for_some_messages(ahead, is_late):
    """Its sender is far ahead: the fourth message waits until the second one is used, and others go before it."""
    forward = wave(make_program(find("gpipe"), 3, 1), 4).program
    slow = simulate(forward, [[1] * 4, [10] * 4, [1] * 4])
    order = [sent.made for sent in in_one_order(slow, ahead)]
    assert (order.index(Task("F", 0, 3)) > order.index(Task("F", 1, 0))) == is_late


def test_one_order_costs_time_where_tasks_are_not_equally_long(program):
    """Tasks whose times vary by 30%, messages that take a tenth of a task: up to 10% of the median step."""
    free, bound = Graph(program), Graph(program)
    bound.in_one_order(in_one_order(simulate(program), AHEAD))
    rng, ratios = np.random.default_rng(0), []
    for _ in range(20):
        seconds = {task: float(np.exp(0.3 * rng.standard_normal())) for own in program.tasks for task in own}
        ratios.append(bound.length(seconds, 0.1) / free.length(seconds, 0.1))
    assert min(ratios) >= 1 - 1e-9
    assert np.median(ratios) < 1.1
