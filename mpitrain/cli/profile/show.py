"""``mpitrain profile show``: the most expensive items of each rank in a trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ...errors import UserError
from ...json_text import to_json
from ...plain_text import count
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console

if TYPE_CHECKING:
    from ...profiles.summary import RankProfile, Slower

DESCRIPTION = "List the most expensive items of each rank in the trace of a profiled run."
MOST_TABLES = 4  # with more kinds of ranks there is one table for all
MOST_SENTENCES = 5


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Options of show."""

    trace: Annotated[Positional[Path], arg(metavar="FILE|RUN")]
    """A trace.json, or the directory of a run that has one."""
    top: int = 10
    """Number of items for each rank."""
    json: bool = False
    """Print the items of every rank as JSON, with seconds of all steps."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ShowOptions, argv, command="profile show", description=DESCRIPTION, speaks=speaks)
    if options.top < 1:
        raise UserError(f"--top is {options.top}, but must be at least 1")
    return LocalJob(lambda: show(options))


def show(options: ShowOptions) -> int:
    """Print the tables, or JSON."""
    from ...profiles.summary import alike, merged, read_profile, slower

    ranks = read_profile(_trace_of(options.trace))
    late = slower(ranks, options.top)
    if options.json:
        print(to_json({"ranks": [_facts(profile, options.top) for profile in ranks], "slower": _facts_of(late)}))
        return 0
    groups = alike(ranks, options.top)
    for group in groups if len(groups) <= MOST_TABLES else [ranks]:
        _print_table(merged(group), _title(group, ranks, len(groups)), options.top)
    console = make_console()
    for one in late[:MOST_SENTENCES]:
        console.say(_say_slower(one))
    if len(late) > MOST_SENTENCES:
        console.say(f"and {len(late) - MOST_SENTENCES} more of this kind: --json lists them")
    return 0


def _trace_of(path: Path) -> Path:
    """Return the trace at ``path``, or that of the run in this directory."""
    from ...training.directory.run_directory import TRACE

    if not path.is_dir():
        return path
    if not (path / TRACE).exists():
        raise UserError(f"{path} has no {TRACE}: train with --profile to get one")
    return path / TRACE


def _title(group: Sequence["RankProfile"], ranks: Sequence["RankProfile"], num_groups: int) -> str:
    if len(ranks) == 1:
        return "rank 0"
    numbers = ", ".join(str(profile.rank) for profile in group)
    if len(group) < len(ranks):
        return f"rank {numbers}" if len(group) == 1 else f"ranks {numbers}, which are alike: their mean"
    return f"all {len(ranks)} ranks, which {'are alike' if num_groups == 1 else 'differ'}: their mean"


def _print_table(profile: "RankProfile", title: str, number: int) -> None:
    from ...collectives.price.units import say_seconds
    from ...training.display.text_table import Column, print_table

    console = make_console()
    step = profile.seconds / profile.steps
    rows = []
    for item in profile.top(number):
        calls = item.calls / profile.steps
        cells = f"{item.seconds / profile.seconds:.1%}", say_seconds(item.seconds / profile.steps), f"{calls:.3g}"
        rows.append([*cells, item.kind, item.name])
    columns = [Column("share"), Column("a step"), Column("calls"), Column("kind", "word"), Column("item", "text")]
    title = f"{title}; {count(profile.steps, 'step')} of {say_seconds(step)}"
    print_table(console, columns, rows, title=title)
    outside = f"{1 - profile.seconds / profile.whole:.0%} of the time is outside of steps"
    sent = f"messages were on their way for {profile.on_the_way / profile.seconds:.0%} of a step"
    console.say("; ".join([outside, *([sent] if profile.on_the_way else [])]))
    console.print()


def _say_slower(one: "Slower") -> str:
    from ...collectives.price.units import say_seconds

    times = f"{say_seconds(one.seconds)} a step, {say_seconds(one.usual)} on the others"
    what = f"for {one.item.name} ({one.item.kind})"
    if not one.usual:
        return f"rank {one.rank} alone takes time {what}: {times}"
    return f"rank {one.rank} takes {one.seconds / one.usual:.1f} times as long as others {what}: {times}"


def _facts(profile: "RankProfile", number: int) -> dict[str, Any]:
    facts = {key: getattr(profile, key) for key in ("rank", "steps", "seconds", "whole", "on_the_way")}
    shares = [item._asdict() | {"share": item.seconds / profile.seconds} for item in profile.top(number)]
    return {**facts, "items": shares}


def _facts_of(late: Sequence["Slower"]) -> list[dict[str, Any]]:
    return [
        {"rank": one.rank, "name": one.item.name, "kind": one.item.kind, "seconds": one.seconds, "usual": one.usual}
        for one in late
    ]
