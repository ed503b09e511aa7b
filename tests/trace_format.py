"""Rules of Chrome's Trace Event Format for the events that mpitrain writes, as viewers of it need them."""

import math
from collections import defaultdict

PHASES = {"M", "X", "C", "s", "f"}
NAMES = {
    "process_name": str,
    "thread_name": str,
    "process_sort_index": int,
    "thread_sort_index": int,
}


def problems(events):
    """Return what is wrong with the events of a trace; empty if nothing is."""
    found = [text for event in events for text in _problems_of_one(event)]
    return found or [*_problems_of_tracks(events), *_problems_of_arrows(events)]


def _problems_of_one(event):
    phase = event.get("ph")
    if phase not in PHASES:
        yield f"no such phase: {event}"
        return
    for key in ("pid", "tid"):
        if type(event.get(key)) is not int or event[key] < 1:  # Perfetto keeps 0 for a process of its own
            yield f"{key} is no whole number: {event}"
    if not isinstance(event.get("name"), str) or not event["name"]:
        yield f"no name: {event}"
    for key in {"X": ("ts", "dur"), "M": ()}.get(phase, ("ts",)):
        value = event.get(key)
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            yield f"{key} is no time: {event}"
    arguments = event.get("args", {})
    if phase == "M" and (set(arguments) != {"name"} and set(arguments) != {"sort_index"}):
        yield f"no argument of {event['name']}: {event}"
    if phase == "M" and not all(isinstance(value, NAMES.get(event["name"], ())) for value in arguments.values()):
        yield f"a wrong argument: {event}"
    if phase == "C" and not (arguments and all(type(value) in (int, float) for value in arguments.values())):
        yield f"a counter without numbers: {event}"
    if phase in "sf" and ("id" not in event or not event.get("cat")):
        yield f"an arrow without id or category: {event}"


def _nanoseconds(event):
    """Return begin and end as a viewer reads them: whole nanoseconds of the numbers that are written."""
    begin = int(1000 * event["ts"])  # cut off, as Perfetto does it
    return begin, begin + int(1000 * event.get("dur", 0))


def _problems_of_tracks(events):
    named = {kind: {(e["pid"], e["tid"]) for e in events if e["name"] == kind} for kind in NAMES}
    if len({tid for _, tid in named["thread_name"]}) < len(named["thread_name"]):
        yield "two tracks have the same number"  # by which alone Perfetto names them
    processes = {pid for pid, _ in named["process_name"]}
    tracks, last = defaultdict(list), -1.0
    for event in events:
        if event["ph"] == "M":
            continue
        if event["ts"] < last:
            yield f"times go back: {event}"
        last = event["ts"]
        if event["ph"] == "X":
            place = event["pid"], event["tid"]
            tracks[place].append(event)
            if place not in named["thread_name"] or event["pid"] not in processes:
                yield f"a track without a name: {event}"
    for spans in tracks.values():
        open_until = []
        for event in sorted(spans, key=lambda e: (_nanoseconds(e)[0], -_nanoseconds(e)[1])):
            begin, end = _nanoseconds(event)
            while open_until and open_until[-1] <= begin:
                open_until.pop()
            if open_until and end > open_until[-1]:
                yield f"ends after the span around it: {event}"
            open_until.append(end)


def _problems_of_arrows(events):
    spans = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            spans[event["pid"], event["tid"]].append(_nanoseconds(event))
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = [event for event in events if event["ph"] == "f"]
    if {event["id"] for event in ends} != set(begins) or len(ends) != len(begins):
        yield "arrows without a begin or an end"
        return
    for end in ends:
        begin = begins[end["id"]]
        if (begin["name"], begin["cat"]) != (end["name"], end["cat"]) or begin["ts"] > end["ts"]:
            yield f"begin and end of an arrow do not fit: {end}"
        for event in (begin, end):
            at = _nanoseconds(event)[0]
            if not any(first <= at <= last for first, last in spans[event["pid"], event["tid"]]):
                yield f"an arrow ends at no span: {event}"
