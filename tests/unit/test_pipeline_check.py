"""Pipeline schedules that are wrong, each in its own way: all are rejected, by rank, task and reason."""

import re
import time

import pytest

from mpitrain import user_code
from mpitrain.errors import UserError
from mpitrain.pipelines import ScheduleError, Task, check_for, find, make_program, pipeline, user_schedule
from mpitrain.pipelines.check import check, report
from mpitrain.pipelines.schedules import gpipe, interleaved, one_f_one_b, zb_h1


def a_task_twice(rank, size, m):
    for task in one_f_one_b(rank, size, m):
        yield task
        if task == Task("F", 1, 2):
            yield task


def a_task_missing(rank, size, m):
    yield from (task for task in one_f_one_b(rank, size, m) if task != Task("B", 2, 1))


def one_dw_missing(rank, size, m):
    yield from (task for task in zb_h1(rank, size, m) if task != Task("W", 1, 0))


def dw_on_one_rank_only(rank, size, m):
    yield from (task for task in zb_h1(rank, size, m) if task.kind != "W" or rank == 0)


def w_before_b(rank, size, m):
    for task in zb_h1(rank, size, m):
        if rank == 1 and task.kind == "B":
            yield Task("W", rank, task.microbatch)
        if rank != 1 or task.kind != "W":
            yield task


def b_before_f(rank, size, m):
    order = list(gpipe(rank, size, m))
    yield from reversed(order) if rank == 2 else order


def a_stage_out_of_order(rank, size, m):
    """Rank 2 does its second stage first, though that needs the first lap of all."""
    own = list(interleaved(rank, size, m))
    yield from sorted(own, key=lambda task: task.kind == "F" and -task.stage) if rank == 2 else own


def later_stage_first(rank, size, m):
    """A V: stages r and 2P-1-r on rank r. The last rank does the second of its neighboring stages first."""
    stages = (rank, 2 * size - 1 - rank)
    for stage in reversed(stages) if rank == size - 1 else stages:
        yield from (Task("F", stage, i) for i in range(m))
    for stage in reversed(stages):
        yield from (Task("B", stage, i) for i in range(m))


@pipeline(live=lambda rank, size: size - rank)
def too_many_live(rank, size, m):
    yield from gpipe(rank, size, m)


@pipeline(live=lambda: 2.5)
def too_many_live_with_dw(rank, size, m):
    """In time for the backwards, but not for the dw."""
    order = list(zb_h1(rank, size, m))
    yield from sorted(order, key=lambda task: task.kind == "W")


@pipeline(bubble=lambda size, num_microbatches: 0.0)
def too_idle(rank, size, m):
    yield from gpipe(rank, size, m)


def crossed(rank, size, m):
    if rank == 0:
        yield from one_f_one_b(rank, size, m)
    else:
        yield from (Task("F", rank, i) for i in reversed(range(m)))
        yield from (Task("B", rank, i) for i in range(m))


def a_stage_on_two_ranks(rank, size, m):
    yield from one_f_one_b(min(rank, 1), size, m)


def an_idle_rank(rank, size, m):
    yield from one_f_one_b(rank, size, m) if rank else ()


def a_gap(rank, size, m):
    yield from (Task(kind, 2 * stage, i) for kind, stage, i in one_f_one_b(rank, size, m))


def one_microbatch_too_many(rank, size, m):
    yield from one_f_one_b(rank, size, m + 1)


WRONG = [
    (a_task_twice, "rank 1 of 3, task 4: F of microbatch 2 on stage 1 comes a second time, it was task 3 already"),
    (
        a_task_missing,
        "rank 2 of 3 never yields B of microbatch 1 on stage 2: it yields B there for 3 of 4 microbatches",
    ),
    (
        one_dw_missing,
        "rank 1 of 3 never yields W of microbatch 0 on stage 1: it yields W there for 3 of 4 microbatches",
    ),
    (
        dw_on_one_rank_only,
        "rank 1 of 3 never yields W of microbatch 0 on stage 1: in a schedule with W every B needs its own",
    ),
    (
        w_before_b,
        "rank 1 of 3, task 2: W of microbatch 0 on stage 1 comes before its B, which is task 3: dw needs the gradient "
        "that B takes",
    ),
    (
        b_before_f,
        "rank 2 of 3, task 3: B of microbatch 0 on stage 2 comes before its F, which is task 7: backward needs what "
        "forward has kept",
    ),
    (
        a_stage_out_of_order,
        "deadlock: rank 0 of 3, task 4, waits before F of microbatch 0 on stage 3 for F of microbatch 0 on stage 2 "
        "(task 4 of rank 2); rank 2 of 3, task 0, waits before F of microbatch 0 on stage 5 for F of microbatch 0 on "
        "stage 4 (task 4 of rank 1); rank 1 of 3, task 4, waits before F of microbatch 0 on stage 4 for F of "
        "microbatch 0 on stage 3 (task 4 of rank 0)",
    ),
    (
        later_stage_first,
        "rank 2 of 3, task 0: F of microbatch 0 on stage 3 comes before F of microbatch 0 on stage 2, which it needs "
        "and which is task 4 of the same rank",
    ),
    (
        too_many_live,
        "rank 0 of 3 holds 4 microbatches at a time, but 3 are promised (line LINE): B (or W) comes too late for the F "
        "before it",
    ),
    (too_many_live_with_dw, "rank 0 of 3 holds 4 microbatches at a time, but 2.5 are promised (line LINE)"),
    (too_idle, "ranks are idle for 33.33% of the time, but 0.00% is promised (line LINE)"),
    (
        crossed,
        "deadlock: rank 0 of 3, task 3, waits before B of microbatch 0 on stage 0 for B of microbatch 0 on stage 1 "
        "(task 4 of rank 1); rank 1 of 3, task 0, waits before F of microbatch 3 on stage 1 for F of microbatch 3 on "
        "stage 0 (task 4 of rank 0)",
    ),
    (
        a_stage_on_two_ranks,
        "rank 2 of 3, task 0: F of microbatch 0 on stage 1, but stage 1 is on rank 1: all tasks of a stage are on one "
        "rank, where its weights are",
    ),
    (an_idle_rank, "rank 0 of 3 yields no task, but each rank has one stage at least"),
    (a_gap, "stage 1 is on no rank, but rank 2 has stage 4"),
    (
        one_microbatch_too_many,
        "rank 0 of 3, task 6: F of microbatch 4 on stage 0, but microbatches go from 0 to 3",
    ),
]


@pytest.mark.parametrize(("schedule", "message"), WRONG, ids=lambda x: getattr(x, "__name__", ""))
def test_what_is_wrong_is_told(schedule, message):
    with pytest.raises(ScheduleError) as caught:
        check_for(schedule, 3, 4)
    if "LINE" in message:
        message = message.replace("LINE", str(schedule.__code__.co_firstlineno))
    # these functions are a user's: their tasks have lines, which are not told here
    text = re.sub(r"(task \d+), line \d+", r"\1", str(caught.value))
    assert text.startswith(f"P = 3, M = 4: {message}")
    assert "\n" not in text


def test_what_wrong_schedules_are_made_of_is_right():
    """The tasks that the wrong ones above alter pass the check, with the same P and M."""
    for schedule in (gpipe, one_f_one_b, zb_h1, interleaved):
        check_for(schedule, 3, 4)


def test_the_report():
    found = check(find("interleaved"), range(1, 4), range(1, 5))
    lines = report(find("interleaved"), found).split("\n")
    assert lines[0] == "interleaved: checked for P from 1 to 3 and M from 1 to 4"
    assert lines[2] == "memory and bubble as promised"
    assert lines[-1].split() == ["3", "4", "6", "48", "20.00%", "4", "3.5", "2.5"]
    only = report(find("gpipe"), [check_for(find("gpipe"), 2, 3)]).split("\n")
    assert only[0] == "gpipe: checked for P = 2 and M = 3"
    assert only[-1].endswith("25.00%  3 on each")

    def mine(rank, size, m):
        yield from gpipe(rank, size, m)

    assert "it promises neither memory nor a bubble" in report(find("gpipe").__class__("mine", mine), found)


HEAD = "import numpy as np\nfrom mpitrain.pipelines import Task, pipeline\n"  # two lines


@pytest.fixture
def write(tmp_path):
    def write(body):
        path = tmp_path / "mine.py"
        path.write_text(HEAD + body)
        return f"{path}:mine"

    return write


@pytest.fixture
def _soon(monkeypatch):
    monkeypatch.setattr(user_schedule, "SECONDS", 0.3)
    monkeypatch.setattr(user_code, "TICK", 0.1)


OWN = {
    "a letter": (
        "    yield Task('f', rank, 0)\n",
        "task 0, line 4: kind is 'f' (str), but must be one of 'F', 'B', 'W'",
    ),
    "float": (
        "    yield Task('F', rank / 1, 0)\n",
        "line 4: stage is 0.0 (float), but must be a whole number; / gives a float, // an int",
    ),
    "negative stage": ("    yield Task('F', -1, 0)\n", "line 4: stage is -1, but stages go from 0 on"),
    "negative microbatch": (
        "    yield Task('F', rank, -1)\n",
        "line 4: F of microbatch -1 on stage 0, but there is no",
    ),
    "no task": ("    yield 3\n", "a schedule yields Task objects, not int (write yield Task(...), not yield from Task"),
    "yield from": ("    yield from Task('F', rank, 0)\n", "not str (write yield Task(...), not yield from Task(...))"),
    "a tuple": ("    yield 'F', rank, 0\n", "a schedule yields Task objects, not tuple"),
    "forgot yield": ("    Task('F', rank, 0)\n", "mine (line 3) never yields, and returns nothing; a Task counts only"),
    "a list": ("    return [Task('F', rank, 0)]\n", "mine (line 3) returns a list of 1 Tasks; it must yield them"),
    "misspelt": (
        "    yield Tusk('F', rank, 0)\n",
        "fails with NameError: name 'Tusk' is not defined; did you mean 'Task'?",
    ),
    "later": (
        "    yield Task('F', rank, 0)\n    yield Task('B', rank, 1 // 0)\n",
        "rank 0 of 1, after task 0: the schedule fails with ZeroDivisionError: integer division or modulo by zero",
    ),
    "no end": (
        "    while True:\n        yield Task('F', rank, 0)\n",
        "rank 0 of 1 is still yielding after 11000 tasks (line 5); does the loop there end?",
    ),
    "no yield": (
        "    while True:\n        pass\n    yield\n",
        "rank 0 of 1: it has computed for 0 s without a yield (line",
    ),
    "twice, with its line": (
        "    yield Task('F', rank, 0)\n    yield Task('F', rank, 0)\n",
        "task 1, line 5: F of microbatch 0 on stage 0 comes a second time",
    ),
}


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("case", OWN)
def test_a_users_mistake_is_told_with_its_line(write, case):
    body, message = OWN[case]
    with pytest.raises(UserError) as caught:
        check_for(find(write("def mine(rank, size, num_microbatches):\n" + body)), 1, 1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


PROMISES = {
    "a misspelt argument": ("live=lambda rank, sise: 1", "its live fails with TypeError"),
    "text": ("live=lambda: 'few'", "its live (line 3) is 'few' (str), but must be a number"),
    "failing": ("bubble=lambda size: 1 / 0", "its bubble fails with ZeroDivisionError: division by zero (line 3)"),
}


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("case", PROMISES)
def test_a_users_promise_that_fails_is_told(write, case):
    promise, message = PROMISES[case]
    body = f"@pipeline({promise})\ndef mine(rank, size, m):\n    yield Task('F', 0, 0)\n    yield Task('B', 0, 0)\n"
    with pytest.raises(ScheduleError) as caught:
        check_for(find(write(body)), 1, 1)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("@pipeline(live=3)\ndef mine(rank, size, m):\n    yield\n", "live is a function: live=lambda size, num_micro"),
        ("@pipeline(lives=max)\ndef mine(rank, size, m):\n    yield\n", "unexpected keyword argument 'lives' (line 3)"),
        ("def mine(rank, size):\n    yield\n", "must take (rank, size, num_microbatches), as every pipeline does"),
        ("def other(rank, size, m):\n    yield\n", "has no function 'mine'; it has other"),
        ("def mine(rank, size, m):\n    yield\n1 / 0\n", "ZeroDivisionError: division by zero (line 5)"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(write, body, message):
    with pytest.raises(UserError) as caught:
        find(write(body))
    assert message in str(caught.value)


def test_options_and_integers_of_a_users_own(write):
    body = """
@pipeline(live=lambda rank, size, num_microbatches, ahead: min(num_microbatches, size - rank + ahead))
def mine(rank, size, num_microbatches, ahead: int = 1):
    \"\"\"1F1B with a longer warm-up.

    Live: min(M, P-r+ahead).
    Source: this test.
    \"\"\"
    order = np.arange(num_microbatches, dtype=np.int16)
    warm = min(num_microbatches, size - 1 - rank + ahead)
    yield from (Task("F", np.int64(rank), i) for i in order[:warm])
    for i in order[: num_microbatches - warm]:
        yield Task("F", rank, i + warm)
        yield Task("B", rank, i)
    yield from (Task("B", rank, i) for i in order[num_microbatches - warm :])
"""
    text = write(body)
    for ahead in (0, 1, 3):
        found = find(f"{text}:ahead={ahead}")
        assert check_for(found, 3, 8).live == [float(min(8, 3 - rank + ahead)) for rank in range(3)]
        assert found.options == (("ahead", ahead),)
    assert (find(text).source, find(text).formulas) == ("this test.", ("Live: min(M, P-r+ahead).",))
    assert len(check(find(text), range(1, 6), range(1, 8))) == 35
    program = make_program(find(text), 2, 3)
    assert {type(number) for own in program.tasks for task in own for number in task[1:]} == {int}
    assert program.lines[0] == [13, 13, 15, 16, 17, 17]


def test_a_users_schedule_is_checked_in_time(write):
    body = (
        "def mine(rank, size, m):\n    for kind in 'FB':\n        yield from (Task(kind, rank, i) for i in range(m))\n"
    )
    begin = time.process_time()
    assert check_for(find(write(body)), 64, 256).live == [256.0] * 64
    assert time.process_time() - begin < 5
