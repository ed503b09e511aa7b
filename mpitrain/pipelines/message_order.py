"""Messages between the ranks of a program, and one order of them all, in which each rank may send and receive.

Some libraries let a send wait for its receive, and all that was called after it on the same rank, too (NCCL does). Then
ranks that call in unsuitable orders wait for each other in a circle. No circle is possible in this one:

Each task has a time, in one possible run of the program. A message has one, too: that at which the task that makes it
has ended, and at which its receiver has memory for it, since the task ``ahead`` messages before it has ended there. So
it comes after what it needs, and before the task that needs it. If all ranks call their messages in the order of these
times, whatever waits waits for something earlier in that run: also if a rank does nothing else until a call is over,
and however long tasks and messages really take.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .program import Program
from .simulate import Timeline
from .task import Task


class Handover(NamedTuple):
    """A message: the result of a task, for a task of another rank.

    Attributes
    ----------
    made, taken : Task
    sender, receiver : int
        Ranks of the two tasks.
    """

    made: Task
    taken: Task
    sender: int
    receiver: int


def handovers(program: Program) -> Iterator[Handover]:
    """Yield the messages of a program, those of a receiver in the order of its tasks."""
    for rank, own in enumerate(program.tasks):
        for task in own:
            for need in program.needs(task):
                if program.rank_of[need.stage] != rank:
                    yield Handover(need, task, program.rank_of[need.stage], rank)


def in_one_order(timeline: Timeline, ahead: int) -> list[Handover]:
    """Return the messages of a program in an order that suits all ranks.

    Parameters
    ----------
    timeline : Timeline
        Times of a run that is complete; every task takes some time.
    ahead : int
        Messages, at least 1, for which a stage has memory at first, for its tasks of each kind; it has memory for one
        more whenever such a task has ended.

    Examples
    --------
    >>> from mpitrain.pipelines import find, make_program, simulate
    >>> for made, taken, sender, receiver in in_one_order(simulate(make_program(find("1f1b"), 2, 2)), ahead=2):
    ...     print(f"rank {sender} to rank {receiver}: {made}")
    rank 0 to rank 1: F of microbatch 0 on stage 0
    rank 0 to rank 1: F of microbatch 1 on stage 0
    rank 1 to rank 0: B of microbatch 0 on stage 1
    rank 1 to rank 0: B of microbatch 1 on stage 1
    """
    program = timeline.program
    pairs = zip(program.tasks, timeline.ends, strict=True)
    ends = {task: end for own, times in pairs for task, end in zip(own, times, strict=True)}
    last: dict[tuple[str, int], deque[Task]] = defaultdict(lambda: deque(maxlen=ahead))
    timed = []
    for message in handovers(program):
        before = last[message.taken[:2]]
        has_memory = ends[before[0]] if len(before) == ahead else timeline.first
        timed.append((max(ends[message.made], has_memory), message))
        before.append(message.taken)
    return [message for _, message in sorted(timed)]


def wave(program: Program, num_batches: int) -> Timeline:
    """Return the forward passes of batches that follow each other: stage s computes batch b at the time s + b.

    Each rank takes its tasks in the order of these times, the last stage first. So no rank waits for one that waits for
    it, whichever stages it has.

    Parameters
    ----------
    program : Program
        It says which rank has which stages.
    """
    tasks = [list(_wave_of(stages, program.num_stages, num_batches)) for stages in program.stages_of]
    begins = [[float(task.stage + task.microbatch) for task in own] for own in tasks]
    ends = [[begin + 1 for begin in own] for own in begins]
    forward = Program("forward", program.size, num_batches, program.num_stages, tasks, program.rank_of, is_split=False)
    return Timeline(forward, begins, ends)


def _wave_of(stages: Iterable[int], num_stages: int, num_batches: int) -> Iterator[Task]:
    """Yield the tasks of a rank that has ``stages``, in ascending order."""
    downwards = sorted(stages, reverse=True)
    for time in range(num_batches + num_stages - 1):
        yield from (Task("F", stage, time - stage) for stage in downwards if 0 <= time - stage < num_batches)
