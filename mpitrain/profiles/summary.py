"""Summary of a trace: what the steps of each rank spend their time on, and which ranks are slower at what.

The time of an item is its self time: of a span without the spans inside it, also those of calls that wait, which have a
track of their own. Counted is what begins within a step. Messages on their way are no work of a rank: its waits for
them are.
"""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ..errors import UserError
from .events import CALLS, COMPUTING, Event
from .kinds import MESSAGE, REST, STEP, TASK, WAITING

SAME, SMALL = 0.1, 0.01  # of an item, and of a step: times that differ by less are alike
BETWEEN = "everything between the layers"
MICROSECOND = 1e-6


class Item(NamedTuple):
    """One name in a trace: its kind, and its seconds and calls in all steps."""

    name: str
    kind: str
    seconds: float
    calls: int


@dataclass(frozen=True)
class RankProfile:
    """Steps of one rank, and the items in them.

    Attributes
    ----------
    rank, steps : int
    seconds : float
        Of all steps together.
    whole : float
        Seconds from the first to the last event of the rank.
    items : dict of str to Item
        By name, the most expensive first.
    on_the_way : float
        Seconds in which messages of gradients were on their way.
    """

    rank: int
    steps: int
    seconds: float
    whole: float
    items: dict[str, Item] = field(repr=False)
    on_the_way: float = 0.0

    def per_step(self, name: str) -> float:
        """Return the seconds of an item in a step."""
        return self.items[name].seconds / self.steps if name in self.items else 0.0

    def top(self, number: int) -> list[Item]:
        """Return the most expensive items."""
        return list(self.items.values())[:number]


def read_profile(path: Path) -> list[RankProfile]:
    """Return the profiles of all ranks in a trace.

    Raises
    ------
    UserError
        If the file cannot be read, is no trace of mpitrain, is damaged, or has no step.
    """
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the trace {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is no trace: it is not JSON") from None
    if not isinstance(events, list) or not any(isinstance(e, dict) and e.get("cat") == STEP for e in events):
        raise UserError(
            f"{path} is no trace of steps: train with --profile writes one, trace.json in the run directory"
        )
    try:
        return _profiles(events)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"the trace {path} is damaged: it has an event without its rank, track, begin or length"
        ) from None


def _profiles(events: Iterable[Event]) -> list[RankProfile]:
    tracks: dict[tuple[int, int], str] = {}
    spans: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "M" and event["name"] == "thread_name":
            tracks[event["pid"], event["tid"]] = event["args"]["name"]
        elif event["ph"] == "X":
            if not (float(event["ts"]) >= 0 and float(event["dur"]) >= 0):
                raise ValueError("a time below 0")
            spans[int(event["pid"])].append(event)
    return [_profile(rank, spans[rank], tracks) for rank in sorted(spans)]


def _profile(rank: int, spans: Sequence[Event], tracks: dict[tuple[int, int], str]) -> RankProfile:
    steps = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["cat"] == STEP)
    seconds = sum(end - begin for begin, end in steps)
    if not seconds > 0:
        raise ValueError("a rank without steps")
    begins = [begin for begin, _ in steps]
    lanes: dict[str, list[Event]] = defaultdict(list)
    on_the_way = []
    for event in spans:
        place = bisect_right(begins, event["ts"]) - 1
        if event["cat"] in (STEP, TASK) or place < 0 or event["ts"] >= steps[place][1]:
            continue
        if event["cat"] == MESSAGE:
            on_the_way.append((event["ts"], event["ts"] + event["dur"]))
        else:
            track = tracks[rank, event["tid"]]
            lanes[COMPUTING if track == CALLS else track].append(event)
    found: dict[str, list[Any]] = {}
    for lane in lanes.values():
        _add_self_times(lane, found)
    rest = seconds - sum(entry[1] for entry in found.values())
    if rest > 0:  # threads that take turns may together take longer than the steps
        found[BETWEEN] = [REST, rest, len(steps)]
    ordered = sorted(found.items(), key=lambda pair: -pair[1][1])
    items = {name: Item(name, kind, MICROSECOND * time, calls) for name, (kind, time, calls) in ordered}
    whole = max(e["ts"] + e["dur"] for e in spans) - min(e["ts"] for e in spans)
    return RankProfile(
        rank, len(steps), MICROSECOND * seconds, MICROSECOND * whole, items, MICROSECOND * _covered(on_the_way)
    )


def _add_self_times(lane: Sequence[Event], found: dict[str, list[Any]]) -> None:
    """Add self times and calls by name: the innermost span that is open has the time."""
    open_spans: list[tuple[float, str]] = []
    for event in sorted(lane, key=lambda e: (e["ts"], -e["dur"])):
        begin, end, name = event["ts"], event["ts"] + event["dur"], str(event["name"])
        while open_spans and open_spans[-1][0] <= begin:
            open_spans.pop()
        entry = found.setdefault(name, [str(event["cat"]), 0.0, 0])
        entry[1] += end - begin
        entry[2] += 1
        if open_spans:
            found[open_spans[-1][1]][1] -= min(end, open_spans[-1][0]) - begin
        open_spans.append((end, name))


def _covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def alike(ranks: Sequence[RankProfile], number: int) -> list[list[RankProfile]]:
    """Return the ranks in groups whose most expensive items take equally long, to a tenth or a hundredth of a step."""
    groups: list[list[RankProfile]] = []
    for profile in ranks:
        group = next((group for group in groups if _are_alike(group[0], profile, number)), None)
        if group is None:
            groups.append([profile])
        else:
            group.append(profile)
    return groups


def _are_alike(one: RankProfile, other: RankProfile, number: int) -> bool:
    step = max(one.seconds / one.steps, other.seconds / other.steps)
    names = {item.name for profile in (one, other) for item in profile.top(number)}
    times = [(one.per_step(name), other.per_step(name)) for name in names]
    return all(abs(a - b) <= max(SAME * max(a, b), SMALL * step) for a, b in times)


def merged(group: Sequence[RankProfile]) -> RankProfile:
    """Return the mean of ranks as one profile, which has the number of the first."""
    names = dict.fromkeys(name for profile in group for name in profile.items)
    items = []
    for name in names:
        parts = [profile.items[name] for profile in group if name in profile.items]
        seconds, calls = sum(part.seconds for part in parts), sum(part.calls for part in parts)
        items.append(Item(name, parts[0].kind, seconds / len(group), round(calls / len(group))))
    items.sort(key=lambda item: -item.seconds)
    seconds, whole, on_the_way = (
        sum(getattr(profile, key) for profile in group) / len(group) for key in ("seconds", "whole", "on_the_way")
    )
    steps = round(sum(profile.steps for profile in group) / len(group))
    return RankProfile(group[0].rank, steps, seconds, whole, {item.name: item for item in items}, on_the_way)


class Slower(NamedTuple):
    """An item at which a rank is slower than the others: its seconds in a step, and their median."""

    rank: int
    item: Item
    seconds: float
    usual: float


def slower(ranks: Sequence[RankProfile], number: int) -> list[Slower]:
    """Return what single ranks are slower at than the median of the others, the largest difference first.

    Waits are left out: they are long on the ranks that are fast.
    """
    found = []
    for profile in ranks:
        others = [other for other in ranks if other is not profile]
        for item in profile.top(number) if others else []:
            usual = median(other.per_step(item.name) for other in others)
            seconds = profile.per_step(item.name)
            least = max(SAME * usual, SMALL * profile.seconds / profile.steps)
            if item.kind != WAITING and seconds - usual > least:
                found.append(Slower(profile.rank, item, seconds, usual))
    return sorted(found, key=lambda one: one.usual - one.seconds)
