"""Summary of a trace: what the steps of each rank spend their time on, and which ranks are slower at what.

The time of an item is its self time: at any time the span that began last counts, of those that are open on any track.
So a call that waits, on its own track, is taken from the layer around it, and where virtual shards take turns, the one
that runs is taken from those that wait. Counted is what begins within a step. Messages on their way are no work of a
rank: its waits for them are.
"""

import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ..errors import UserError
from .events import Event, rank_of
from .kinds import MESSAGE, REST, STEP, TASK, WAITING

SAME, SMALL = 0.1, 0.01  # of an item, and of a step: times that differ by less are alike
MICROBATCH = re.compile(r"microbatch \d+")  # waits for all of them are one item
BETWEEN = "everything between the layers"
NANOSECOND = 1e-9


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
    on_the_way : float
        Seconds in which messages of gradients were on their way.
    items : dict of str to Item
        By name, the most expensive first.
    """

    rank: int
    steps: int
    seconds: float
    whole: float
    on_the_way: float
    items: dict[str, Item] = field(repr=False)

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
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise UserError(
            f"the trace {path} is damaged: it has an event without its rank, name, begin or length"
        ) from None


class _Span(NamedTuple):
    """Span of a trace, in whole nanoseconds."""

    begin: int
    end: int
    name: str
    kind: str

    @classmethod
    def of(cls, event: Event) -> "_Span":
        """Return the span of an event; raise ValueError for a time below 0."""
        begin, length = round(1000 * event["ts"]), round(1000 * event["dur"])
        if begin < 0 or length < 0:
            raise ValueError
        return cls(begin, begin + length, MICROBATCH.sub("a microbatch", event["name"]), str(event["cat"]))


def _profiles(events: Iterable[Event]) -> list[RankProfile]:
    spans: dict[int, list[_Span]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            spans[rank_of(int(event["pid"]))].append(_Span.of(event))
    return [_profile(rank, spans[rank]) for rank in sorted(spans)]


def _profile(rank: int, spans: Sequence[_Span]) -> RankProfile:
    steps = sorted(span for span in spans if span.kind == STEP)
    length = sum(step.end - step.begin for step in steps)
    if not length:
        raise ValueError("a rank without steps")
    begins = [step.begin for step in steps]
    places = [(span, bisect_right(begins, span.begin) - 1) for span in spans if span.kind not in (STEP, TASK)]
    inside = [span for span, place in places if place >= 0 and span.begin < steps[place].end]
    found = _self_times([span for span in inside if span.kind != MESSAGE])
    rest = length - sum(entry[1] for entry in found.values())
    if rest > 0:
        found[BETWEEN] = [REST, rest, len(steps)]
    ordered = sorted(found.items(), key=lambda pair: -pair[1][1])
    items = {name: Item(name, kind, NANOSECOND * time, calls) for name, (kind, time, calls) in ordered}
    whole = max(span.end for span in spans) - min(span.begin for span in spans)
    on_the_way = _covered([(span.begin, span.end) for span in inside if span.kind == MESSAGE])
    seconds, whole_seconds, sent = (NANOSECOND * value for value in (length, whole, on_the_way))
    return RankProfile(rank, len(steps), seconds, whole_seconds, sent, items)


def _self_times(spans: Iterable[_Span]) -> dict[str, list[Any]]:
    """Return kind, self time and calls by name."""
    found: dict[str, list[Any]] = {}
    open_spans: list[_Span] = []
    now = 0

    def advance(until: int) -> None:
        """Give the time from now on to the span that began last, then to those below it."""
        nonlocal now
        while open_spans:
            top = open_spans[-1]
            found[top.name][1] += max(0, min(top.end, until) - now)
            now = max(now, min(top.end, until))
            if top.end > until:
                break
            open_spans.pop()
        now = until

    ordered = sorted(spans, key=lambda span: (span.begin, -span.end))
    for span in ordered:
        advance(span.begin)
        found.setdefault(span.name, [span.kind, 0, 0])[2] += 1
        open_spans.append(span)
    advance(max((span.end for span in ordered), default=0))
    return found


def _covered(intervals: Iterable[tuple[int, int]]) -> int:
    """Return the length of the union of intervals."""
    total = until = 0
    for begin, end in sorted(intervals):
        total += max(0, end - max(begin, until))
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
    return RankProfile(group[0].rank, steps, seconds, whole, on_the_way, {item.name: item for item in items})


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
