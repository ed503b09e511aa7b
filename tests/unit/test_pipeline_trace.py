"""Traces of pipelines: written, read back, laid beside their prediction, and refused line by line."""

import json

import pytest

from mpitrain.errors import UserError
from mpitrain.pipelines import Task, find, make_program, simulate
from mpitrain.pipelines.price import Costs
from mpitrain.pipelines.trace import Span, Trace, format_trace, parse_trace, read_trace, replay


def record(name="1f1b", size=2, m=3, costs=None, link=None, shift=100.0):
    """Return the trace of a run that takes exactly the times of ``costs``."""
    program = make_program(find(name), size, m)
    run = simulate(program, (costs or Costs((0.001,), (0.001,), (0.001,))).durations(program), link)
    spans = [
        Span(rank, task, begin + shift, end + shift)
        for rank, own in enumerate(program.tasks)
        for task, begin, end in zip(own, run.begins[rank], run.ends[rank])
    ]
    return Trace(name, size, m, spans, 1e-6, "MPICH 5.0.2")


def test_there_and_back(tmp_path):
    trace = record()
    path = tmp_path / "run.jsonl"
    path.write_text(format_trace(trace))
    assert read_trace(path) == trace
    assert trace.spans[0] == (0, Task("F", 0, 0), 100.0, 100.001)


@pytest.mark.parametrize("name", ["1f1b", "zb_h1", "interleaved:chunks=2", "greedy"])
def test_a_run_without_surprises_is_its_prediction(name):
    """Stages of different speed; nothing else: the prediction from the mean times gives the run again."""
    costs = Costs((0.001, 0.002, 0.001), (0.002, 0.003, 0.001), (0.001, 0.001, 0.001))
    recorded = replay(record(name, 3, 4, costs))
    predicted = recorded.predict()
    first = recorded.run.timeline.first
    for ran, wanted in zip(recorded.run.timeline.begins, predicted.timeline.begins):
        assert [begin - first for begin in ran] == pytest.approx(wanted, abs=1e-9)
    found, wanted = recorded.run.price, predicted.price
    assert (found.dependency, found.imbalance, found.message) == pytest.approx(
        (wanted.dependency, wanted.imbalance, 0.0), abs=1e-9
    )
    assert found.live == wanted.live
    assert recorded.early <= 1e-9
    assert recorded.difference(find(name)) == ""
    assert [list(recorded.pipeline(rank, 3, 4)) for rank in range(3)] == recorded.run.timeline.program.tasks


def test_messages_of_a_run_are_seen():
    link = lambda *_: (0.0005, 0.0)  # noqa: E731
    recorded = replay(record("1f1b", 3, 4, link=link))
    assert recorded.run.price.message > 0.02
    assert recorded.run.price.imbalance == pytest.approx(0.0, abs=1e-9)
    assert recorded.predict(link).price.step == pytest.approx(recorded.run.price.step)
    assert recorded.predict().price.step < recorded.run.price.step - 0.001


def test_a_run_of_another_order_is_told():
    recorded = replay(record("gpipe", 2, 3))
    assert recorded.difference(find("1f1b")) == (
        "task 2 of rank 0 was F of microbatch 2 on stage 0, but 1f1b has B of microbatch 0 on stage 0"
    )
    with pytest.raises(UserError, match="recorded with P = 2 and M = 3 only"):
        recorded.pipeline(0, 2, 4)


def test_clocks_that_differ_are_measured():
    trace = record()
    late = [
        span._replace(begin=span.begin + 0.0004, end=span.end + 0.0004) if span.rank == 0 else span
        for span in trace.spans
    ]
    assert replay(Trace("1f1b", 2, 3, late)).early == pytest.approx(0.0004)


def row(**changed):
    return json.dumps({"rank": 0, "kind": "F", "stage": 0, "microbatch": 0, "begin": 0.0, "end": 1.0} | changed)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (0, "", "line 1 is not JSON"),
        (0, "[]", "line 1 is not an object"),
        (0, "{}", "is not a pipeline trace of mpitrain"),
        (0, '{"format": "mpitrain-trace", "version": 1}', "is not a pipeline trace of mpitrain"),
        (0, '{"format": "mpitrain-pipeline-trace", "version": 2}', "has version 2"),
        (
            0,
            '{"format": "mpitrain-pipeline-trace", "version": 1}',
            "line 1: the head of a trace needs pipeline, size, ",
        ),
        (2, '{"rank": 0}', "line 3: a task needs rank, kind, stage, microbatch, begin, end"),
        (2, row(rank=2), "line 3: ranks go from 0 to 1"),
        (2, row(kind="X"), "line 3: the kind of a task is one of F, B, W"),
        (2, row(kind=[]), "line 3: the kind of a task is one of F, B, W"),
        (2, row(begin=2.0), "line 3: a task ends after it begins"),
        (2, row(end="soon"), "line 3: a task needs"),
        (2, row(stage=-1), "line 3: a task needs"),
        (2, row(microbatch=1.5), "line 3: a task needs"),
    ],
)
def test_what_is_refused(line, text, message):
    lines = format_trace(record()).splitlines()
    lines[line] = text
    with pytest.raises(UserError, match=message):
        parse_trace(lines)


def test_runs_that_are_not_whole_are_refused(tmp_path):
    trace = record()
    with pytest.raises(
        UserError, match="not that of a whole step: rank 1 of 2 never yields B of microbatch 2 on stage 1"
    ):
        replay(Trace("1f1b", 2, 3, trace.spans[:-1]))
    with pytest.raises(UserError, match="not that of a whole step: rank 0 of 2 yields no task"):
        replay(Trace("1f1b", 2, 3, []))
    longer = [trace.spans[0]._replace(end=trace.spans[0].end + 1e-4), *trace.spans[1:]]
    with pytest.raises(UserError, match="rank 0 in two tasks at once: F of microbatch 0 on stage 0 until 100"):
        replay(Trace("1f1b", 2, 3, longer))
    with pytest.raises(UserError, match=r"cannot read the pipeline trace .*: No such file"):
        read_trace(tmp_path / "none.jsonl")
