"""Trace files: written, read back, and refused line by line."""

import json

import pytest

from mpitrain.collectives import find
from mpitrain.collectives.draw import Trace, TraceEvent, draw_page, format_trace, parse_trace, read_trace
from mpitrain.errors import UserError

TRACE = Trace(
    "ring",
    2,
    64,
    [TraceEvent(r, s, 0.5 + s * 1e-3 + r * 1e-4, 0.5 + (s + 1) * 1e-3, 1 - r, 32) for r in range(2) for s in range(2)],
    1e-6,
    "MPICH 5.0.2",
)


def test_there_and_back(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(format_trace(TRACE))
    assert read_trace(path) == TRACE
    assert TRACE.seconds == pytest.approx(2e-3)


def test_a_page_takes_it():
    page = draw_page([find("ring")], 2, max_ranks=2, trace=TRACE)
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["trace"]["events"][0] == [0, 0, 0.0, 0.001, 32]
    assert data["trace"]["num_bytes"] == 64


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (0, "", "it is not JSON"),
        (0, "[]", "line 1 is not an object"),
        (0, "{}", "is not a trace of mpitrain"),
        (0, '{"format": "mpitrain-trace", "version": 2}', "has version 2"),
        (0, '{"format": "mpitrain-trace", "version": 1}', "line 1: the head of a trace needs algorithm, size,"),
        (2, '{"rank": 0}', "line 3: a step needs rank, step, start, end, peer, bytes"),
        (2, '{"rank": 2, "step": 0, "start": 0, "end": 1, "peer": 0, "bytes": 1}', "line 3: ranks go from 0 to 1"),
        (2, '{"rank": 0, "step": 0, "start": 2, "end": 1, "peer": 0, "bytes": 1}', "line 3: a step ends after it"),
        (2, '{"rank": 0, "step": -1, "start": 0, "end": 1, "peer": 0, "bytes": 1}', "line 3: a step needs"),
    ],
)
def test_what_is_refused(line, text, message):
    lines = format_trace(TRACE).splitlines()
    lines[line] = text
    with pytest.raises(UserError, match=message.replace("it is not JSON", "line 1 is not JSON")):
        parse_trace(lines)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the trace .*: No such file"):
        read_trace(tmp_path / "none.jsonl")
