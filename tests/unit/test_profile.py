"""The trace of --profile and its summary, from spans that are made up here."""

import copy
import json
import random
import subprocess
import sys

import pytest

from mpitrain.cli.main import main
from mpitrain.profiles.events import CALLS, COMPUTING, ON_THE_WAY, STEPS, SUM_OF, Span, trace_events
from mpitrain.profiles.kinds import INPUT, MESSAGE, OUTSIDE, STEP, UPDATE, WAITING
from mpitrain.profiles.summary import BETWEEN, alike, merged, read_profile, slower
from mpitrain.training.directory.run_directory import TRACE

from ..trace_format import problems

BUCKET = "bucket 0: 1.bias to 0.weight"
SUM = f"ring all-reduce of 4,000 bytes of float32 ({BUCKET}) planned at x.py:1"


def spans_of(steps=3, slow=1.0, late=0.0):
    """Return the spans of a rank: per step 10 ms, of which 1 input, 4 of a convolution and 3 of a product."""
    spans = []
    for number in range(steps):
        t = 0.01 * number * slow + late
        spans += [
            Span(STEPS, f"step {number + 1}", t, t + 0.010 * slow, STEP),
            Span(CALLS, "its input", t, t + 0.001, INPUT),
            Span(COMPUTING, "0 Conv2d forward", t + 0.001, t + 0.001 + 0.004 * slow, "convolution"),
            Span(CALLS, "allreduce of statistics", t + 0.002, t + 0.003, WAITING),  # inside of the convolution
            Span(COMPUTING, "1 Linear forward", t + 0.005 * slow, t + 0.008 * slow, "product"),
            Span(BUCKET, SUM, t + 0.006 * slow, t + 0.009 * slow, MESSAGE),
            Span(CALLS, SUM_OF + BUCKET, t + 0.008 * slow, t + 0.009 * slow, WAITING),
            Span(COMPUTING, "update", t + 0.009 * slow, t + 0.0095 * slow, UPDATE),
        ]
    end = 0.01 * steps * slow + late
    return [*spans, Span(COMPUTING, "evaluation", end, end + 0.01, OUTSIDE)]


@pytest.fixture
def write(tmp_path):
    """Write the trace of ranks, each given by its spans, and return its path."""

    def made(*ranks, name=TRACE):
        path = tmp_path / name
        path.write_text(json.dumps(trace_events([(0.0, spans) for spans in ranks])))
        return path

    return made


def test_all_ranks_are_on_one_clock():
    ranks = [
        (0.0, [Span(COMPUTING, "a", 10.0, 10.5, "layer")]),
        (-5.0, [Span(COMPUTING, "b", 15.25, 15.5, "layer"), Span("bucket 0", "c", 15.5, 16.0, MESSAGE)]),
    ]
    events = [event for event in trace_events(ranks) if event["ph"] == "X"]
    assert [(e["pid"], e["name"], e["cat"], e["ts"], e["dur"]) for e in events] == [
        (1, "a", "layer", pytest.approx(0.0, abs=1e-3), pytest.approx(5e5)),
        (2, "b", "layer", pytest.approx(2.5e5), pytest.approx(2.5e5)),
        (2, "c", MESSAGE, pytest.approx(5e5), pytest.approx(5e5)),
    ]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in trace_events(ranks) if e["name"] == "thread_name"}
    assert names[2, events[2]["tid"]] == "bucket 0"


def test_traces_keep_the_rules_of_the_format():
    assert problems(trace_events([(0.0, spans_of()), (-7.5, spans_of(slow=1.3, late=0.002))])) == []
    rng = random.Random(4)
    nested = [Span(COMPUTING, "outer", 1.0, 1.0 + (end := rng.uniform(1e-6, 1e-3)), "layer")]
    nested += [Span(COMPUTING, "inner", 1.0 + rng.uniform(0, end), 1.0 + end, "layer")]  # ends with the outer one
    for _ in range(300):
        at = nested[-1].end + rng.uniform(1e-7, 1e-3)
        end = at + rng.uniform(1e-6, 1e-3)
        nested += [Span(COMPUTING, "outer", at, end, "layer"), Span(COMPUTING, "inner", (at + end) / 2, end, "layer")]
    assert problems(trace_events([(rng.uniform(-1, 1), nested)])) == []


@pytest.mark.parametrize(
    ("phase", "key", "value", "message"),
    [
        ("X", "dur", -1.0, "no time"),
        ("X", "ts", float("nan"), "no time"),
        ("X", "tid", 99, "without a name"),
        ("X", "pid", None, "no whole number"),
        ("X", "pid", 0, "no whole number"),
        ("X", "ph", "B", "no such phase"),
        ("M", "args", {}, "no argument"),
        ("C", "args", {"bytes": "4"}, "without numbers"),
        ("f", "id", 77, "without a begin or an end"),
        ("f", "ts", 1e9, "times go back"),
        ("s", "name", "other", "do not fit"),
    ],
)
def test_the_rules_find_mistakes(phase, key, value, message):
    events = copy.deepcopy(trace_events([(0.0, spans_of()), (0.0, spans_of(late=0.002))]))
    chosen = [event for event in events if event["ph"] == phase]
    chosen[len(chosen) // 2][key] = value
    assert any(message in text for text in problems(events)), problems(events)


def test_the_rules_find_tracks_of_one_number():
    events = trace_events([(0.0, spans_of()), (0.0, spans_of())])
    for event in events:
        event["tid"] -= 3 * (event["pid"] == 2 and event["tid"] > 2)  # the second rank's tracks follow the first's
    assert problems(events) == ["two tracks have the same number"]


def test_the_rules_find_spans_that_cross():
    spans = [Span(COMPUTING, "a", 0.0, 1.0, "layer"), Span(COMPUTING, "b", 0.5, 1.0 + 1e-9, "layer")]
    assert "after the span around it" in problems(trace_events([(0.0, spans)]))[0]
    rounded = trace_events([(0.0, [spans[0], spans[1]._replace(end=1.0 + 1e-10)])])  # less than a nanosecond
    assert problems(rounded) == []


def test_arrows_lead_from_the_last_rank_to_those_that_wait():
    events = trace_events([(0.0, spans_of(1)), (0.0, spans_of(1, late=0.0005))])
    arrows = [event for event in events if event["ph"] in "sf"]
    assert {(e["ph"], e["pid"]) for e in arrows} == {("s", 2), ("f", 1)}
    assert {e["name"] for e in arrows} == {"came last to allreduce of statistics", f"came last to {SUM}"}
    assert [e for e in trace_events([(0.0, spans_of(1)), (0.0, spans_of(1))]) if e["ph"] in "sf"] == []
    away = trace_events([(0.0, spans_of(1)), (0.0, spans_of(1, late=0.1))])  # begins after the other has ended
    assert [e for e in away if e["ph"] in "sf"] == []


def test_the_counter_of_bytes_on_their_way():
    spans = [Span(BUCKET, SUM, 0.0, 2.0, MESSAGE), Span("b", SUM.replace("4,000", "8"), 1.0, 3.0, MESSAGE)]
    counts = [(round(e["ts"]), e["args"]["bytes"]) for e in trace_events([(0.0, spans)]) if e["name"] == ON_THE_WAY]
    assert counts == [(0.0, 4000), (1e6, 4008), (2e6, 8), (3e6, 0)]


def test_self_times(write):
    (rank,) = read_profile(write(spans_of()))
    assert (rank.steps, rank.seconds) == (3, pytest.approx(0.03))
    assert rank.whole == pytest.approx(0.04)
    times = {item.name: item.seconds / 3 for item in rank.items.values()}
    assert times == pytest.approx(
        {
            "0 Conv2d forward": 0.003,  # without the call inside of it
            "1 Linear forward": 0.003,
            "its input": 0.001,
            "allreduce of statistics": 0.001,
            SUM_OF + BUCKET: 0.001,
            "update": 0.0005,
            BETWEEN: 0.0005,
        }
    )
    assert sum(times.values()) == pytest.approx(0.01)
    assert rank.on_the_way == pytest.approx(3 * 0.003)
    assert rank.items["update"].kind == UPDATE
    assert all(item.calls == 3 for item in rank.items.values())


def test_of_threads_that_take_turns_the_one_that_began_last_counts(write):
    second = f"{COMPUTING}, thread 2"
    spans = [
        Span(STEPS, "step 1", 0.0, 0.010, STEP),
        Span(COMPUTING, "a", 0.0, 0.006, "layer"),  # waits from 2 to 5
        Span(second, "b", 0.002, 0.008, "layer"),  # crosses a, and waits from 4 on
        Span(CALLS, "sum", 0.004, 0.005, WAITING),
    ]
    path = write(spans)
    assert problems(json.loads(path.read_text())) == []
    (rank,) = read_profile(path)
    times = {item.name: item.seconds for item in rank.items.values()}
    assert times == pytest.approx({"a": 0.002, "b": 0.005, "sum": 0.001, BETWEEN: 0.002})


def test_waits_for_all_microbatches_are_one_item(write):
    waits = [Span(CALLS, f"for the gradient of microbatch {k} from stage 1", k, k + 0.5, WAITING) for k in range(3)]
    (rank,) = read_profile(write([Span(STEPS, "step 1", 0.0, 3.0, STEP), *waits]))
    item = rank.items["for the gradient of a microbatch from stage 1"]
    assert (item.calls, item.seconds) == (3, pytest.approx(1.5))


def test_ranks_that_are_alike_are_merged(write):
    ranks = read_profile(write(spans_of(), spans_of(slow=1.02), spans_of(slow=2.0)))
    groups = alike(ranks, 10)
    assert [[profile.rank for profile in group] for group in groups] == [[0, 1], [2]]
    both = merged(groups[0])
    assert both.items["1 Linear forward"].seconds == pytest.approx(3 * 0.00303)
    assert both.seconds == pytest.approx(0.0303)
    found = [(one.rank, one.item.name) for one in slower(ranks, 10)]
    assert found[0] == (2, "0 Conv2d forward")
    assert (2, "1 Linear forward") in found
    assert not any(one.item.kind == WAITING or one.rank < 2 for one in slower(ranks, 10))


def test_show(capsys, write, tmp_path):
    write(spans_of(), spans_of(slow=2.0))
    assert main(["profile", "show", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "rank 0; 3 steps of 10 ms" in out
    assert "rank 1; 3 steps of 20 ms" in out
    line = next(line for line in out.splitlines() if line.endswith("0 Conv2d forward"))
    assert line.split()[:5] == ["30.0%", "3", "ms", "1", "convolution"]
    assert "25% of the time is outside of steps; messages were on their way for 30% of a step" in out
    assert (
        "rank 1 takes 2.3 times as long as others for 0 Conv2d forward (convolution): 7 ms a step, 3 ms on the others"
    ) in out
    assert max(map(len, out.splitlines())) <= 120
    assert main(["profile", "show", str(tmp_path / TRACE), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.lstrip()[:1].isdigit() and "%" in line.split()[0] and "outside" not in line for line in lines) == 4


def test_show_merges_and_gives_json(capsys, write, tmp_path):
    write(spans_of(), spans_of())
    assert main(["profile", "show", str(tmp_path)]) == 0
    assert "all 2 ranks, which are alike: their mean; 3 steps of 10 ms" in capsys.readouterr().out
    assert main(["profile", "show", str(tmp_path), "--json", "--top", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [rank["rank"] for rank in found["ranks"]] == [0, 1]
    (item,) = found["ranks"][0]["items"]
    assert item["share"] == pytest.approx(0.3)
    assert found["slower"] == []
    write(*(spans_of(slow=1 + rank) for rank in range(6)))
    assert main(["profile", "show", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "all 6 ranks, which differ: their mean" in out
    assert "more of this kind: --json lists them" in out


def test_show_loads_no_mpi(write):
    program = (
        "import sys; from mpitrain.cli.main import main; main(['profile', 'show', sys.argv[1]])\nprint(*sys.modules)"
    )
    command = [sys.executable, "-c", program, str(write(spans_of()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "0 Conv2d forward" in done.stdout
    assert "mpi4py.MPI" not in done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or directory"),
        (b"", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"{}", "is no trace of steps"),
        (b"[]", "is no trace of steps"),
        (b'[{"ph": "X"}, 3]', "is no trace of steps"),
        (b'[{"cat": "step", "ph": "X"}]', "is damaged"),
        (b'[{"cat": "step", "ph": "X", "ts": "now", "dur": 1, "pid": 0}]', "is damaged"),
        (b'[{"cat": "step", "ph": "X", "ts": -1, "dur": 1, "pid": 0}]', "is damaged"),
        (b'[{"cat": "step", "ph": "X", "ts": 0, "dur": 1, "pid": 0, "name": "step 1"}, 7]', "is damaged"),
        (b'[{"cat": "step", "ph": "X", "ts": 0, "dur": 0, "pid": 0, "name": "step 1"}]', "is damaged"),
    ],
)
def test_files_that_are_no_traces(capsys, tmp_path, content, message):
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["profile", "show", str(path)]) == 2
    err = capsys.readouterr().err
    assert message in err.lower().replace("is not json", "is not JSON")
    assert str(path) in err
    assert err.count("\n") == 1


def test_a_run_without_a_trace(capsys, tmp_path):
    assert main(["profile", "show", str(tmp_path)]) == 2
    assert f"{tmp_path} has no trace.json: train with --profile to get one" in capsys.readouterr().err
    assert main(["profile", "show", str(tmp_path), "--top", "0"]) == 2
    assert "--top is 0, but must be at least 1" in capsys.readouterr().err
