"""Checker of pipeline schedules: complete, free of deadlocks under any timing, and within the promised memory.

complete    each F, B (and W) of each stage and microbatch once, F before B before W, a stage on one rank
no deadlock receives are posted early, so ranks wait only for tasks; they never do so in a circle
promises    activations held at any time, and the bubble where all stages take equally long
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import ScheduleError
from .pipeline import Pipeline, make_pipeline
from .program import make_program
from .simulate import simulate
from .task import Task

ROUNDING = 1e-9


@dataclass(frozen=True)
class Checked:
    """Measured bubble and memory of a schedule that passed the check, for one P and M.

    Attributes
    ----------
    size, num_microbatches, num_stages, num_tasks : int
    bubble : float
        Idle part of the time, where F, dx and dw of a P-th part of the model take one unit each and messages none.
    live : list of float
        Microbatches that each rank holds at most.
    """

    size: int
    num_microbatches: int
    num_stages: int
    num_tasks: int
    bubble: float
    live: list[float]


def check(
    schedule: Pipeline | Callable[..., Iterator[Task]],
    sizes: Iterable[int],
    microbatches: Iterable[int],
    checked: Callable[[Checked], object] = lambda found: None,
) -> list[Checked]:
    """Check a schedule for all P of ``sizes`` and all M of ``microbatches``.

    Parameters
    ----------
    schedule : Pipeline or callable(rank, size, num_microbatches)
    sizes, microbatches : iterable of int
    checked : callable(Checked), optional
        Called after each P and M.

    Raises
    ------
    ScheduleError
        With P, M, and the rank, task and reason of the first error.
    """
    pipeline, microbatches = make_pipeline(schedule), list(microbatches)
    found = []
    for size in sizes:
        for num_microbatches in microbatches:
            found.append(check_for(pipeline, size, num_microbatches))
            checked(found[-1])
    return found


def check_for(schedule: Pipeline | Callable[..., Iterator[Task]], size: int, num_microbatches: int) -> Checked:
    """Check a schedule for one P and M.

    Examples
    --------
    >>> from mpitrain.pipelines import find
    >>> check_for(find("1f1b"), 4, 8).live
    [4.0, 3.0, 2.0, 1.0]
    """
    pipeline = make_pipeline(schedule)
    try:
        program = make_program(pipeline, size, num_microbatches, pipeline.name)
        timeline = simulate(program)
        num_tasks = sum(map(len, program.tasks))
        found = Checked(size, num_microbatches, program.num_stages, num_tasks, timeline.bubble, timeline.live)
        _hold_to_promises(pipeline, found)
    except ScheduleError as error:
        raise type(error)(f"P = {size}, M = {num_microbatches}: {error}") from None
    return found


def _hold_to_promises(pipeline: Pipeline, found: Checked) -> None:
    size, num_microbatches = found.size, found.num_microbatches
    if pipeline.live is not None:
        for rank, live in enumerate(found.live):
            promised = pipeline.live(rank, size, num_microbatches)
            if not live <= promised + ROUNDING:
                raise ScheduleError(
                    f"rank {rank} of {size} holds {live:g} microbatches at a time, but {promised:g} are promised"
                    f"{_line_of(pipeline.live)}: B (or W) comes too late for the F before it"
                )
    if pipeline.bubble is not None:
        promised = pipeline.bubble(size, num_microbatches)
        if not found.bubble <= promised + ROUNDING:
            raise ScheduleError(
                f"ranks are idle for {found.bubble:.2%} of the time, but {promised:.2%} is promised"
                f"{_line_of(pipeline.bubble)}"
            )


def _line_of(promise: object) -> str:
    line = getattr(promise, "line", None)
    return f" (line {line})" if line else ""


def report(pipeline: Pipeline, found: list[Checked]) -> str:
    """Return the report on a schedule that passed: for each P, the case with the most microbatches."""
    last = {one.size: one for one in found}
    sizes, counts = [one.size for one in found], [one.num_microbatches for one in found]
    one_case = f"P = {sizes[-1]} and M = {counts[-1]}"
    many = f"P from {min(sizes)} to {max(sizes)} and M from {min(counts)} to {max(counts)}"
    lines = [
        f"{pipeline.name}: checked for {one_case if len(found) == 1 else many}",
        "every F, B and W once, each after what it needs; no deadlock under any timing; each stage on one rank",
    ]
    kept = [word for word, there in (("memory", pipeline.live), ("bubble", pipeline.bubble)) if there is not None]
    lines.append(f"{' and '.join(kept)} as promised" if kept else "it promises neither memory nor a bubble")
    lines.append(f"{'P':>5}{'M':>7}{'stages':>8}{'tasks':>9}{'bubble':>9}  microbatches held, by rank")
    lines += [
        f"{c.size:>5}{c.num_microbatches:>7}{c.num_stages:>8}{c.num_tasks:>9}{c.bubble:>9.2%}  {say_live(c.live)}"
        for c in last.values()
    ]
    return "\n".join(lines)


def say_live(live: list[float], most: int = 8) -> str:
    """Return the microbatches held by each rank in a few words.

    >>> say_live([4.0, 3.5]), say_live([2.0] * 3), say_live([float(n) for n in range(9)])
    ('4 3.5', '2 on each', '0 to 8')
    """
    if len(set(live)) == 1:
        return f"{live[0]:g} on each" if len(live) > 1 else f"{live[0]:g}"
    if len(live) > most:
        return f"{min(live):.3g} to {max(live):.3g}"
    return " ".join(f"{held:.3g}" for held in live)
