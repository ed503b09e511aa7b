"""The trace of --profile, from spans that are made up here."""

import pytest

from mpitrain.training.hooks.profiler import Span, trace_events


def test_all_ranks_are_on_one_clock():
    ranks = [
        (0.0, [Span("computing", "a", 10.0, 10.5)]),
        (-5.0, [Span("computing", "b", 15.25, 15.5), Span("bucket 0", "c", 15.5, 16.0)]),
    ]
    events = [event for event in trace_events(ranks) if event["ph"] == "X"]
    assert [(e["pid"], e["name"], e["ts"], e["dur"]) for e in events] == [
        (0, "a", pytest.approx(0.0), pytest.approx(5e5)),
        (1, "b", pytest.approx(2.5e5), pytest.approx(2.5e5)),
        (1, "c", pytest.approx(5e5), pytest.approx(5e5)),
    ]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in trace_events(ranks) if e["name"] == "thread_name"}
    assert names[1, events[2]["tid"]] == "bucket 0"
