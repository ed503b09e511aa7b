"""``mpitrain runs compare``: the settings in which runs differ, and their results side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ...errors import UserError
from ...json_text import to_json
from ...monitor.runs import Record, as_json, find_runs, settings_of
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .reading import FileOptions, reading
from .values import labels, say, say_of

DESCRIPTION = "Show the settings in which runs differ, and their results."
PLACES = ("out",)  # settings that differ between any two runs
CIRCUMSTANCES = ("ranks", "device", "host", "mpi", "version", "parameters")  # shown where they differ
OUTCOMES = ("state", "epoch", "step", "best", "best/step", "seconds", "speed")


@dataclass(frozen=True, kw_only=True)
class CompareOptions(FileOptions):
    """Options of compare."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN")] = ()
    """Two runs or more: the id of each in the list, its directory, or the name of that."""
    json: bool = False
    """Print the comparison as JSON."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(CompareOptions, argv, command="runs compare", description=DESCRIPTION, speaks=speaks)
    if len(options.runs) < 2:
        raise UserError("compare needs two runs or more")
    return LocalJob(lambda: compare(options))


def compare(options: CompareOptions) -> int:
    """Print the table, or JSON."""
    with reading(options.file) as (_, everything):
        runs = find_runs(everything, options.runs)
    settings, results = _differences(runs), _results(runs)
    if options.json:
        values = {name: [run.get(name) for run in runs] for name in results}
        print(to_json({"runs": [run["id"] for run in runs], "settings": settings, "results": values}))
        return 0
    if not settings:
        make_console().say("all settings are the same")
    _print_table(runs, settings, results)
    return 0


def _differences(runs: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the settings that are not the same in all runs: the value of each run."""
    each = [settings_of(run) for run in runs]
    names = dict.fromkeys(name for settings in each for name in settings if name not in PLACES)
    values = {name: [settings.get(name) for settings in each] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _results(runs: Sequence[Record]) -> list[str]:
    """Return the names of what is compared besides the settings."""
    differ = [name for name in CIRCUMSTANCES if any(run[name] != runs[0][name] for run in runs)]
    scores = dict.fromkeys(name for run in runs for name in as_json(run) if "/" in name and name not in OUTCOMES)
    return [*differ, *OUTCOMES, *scores]


def _print_table(runs: Sequence[Record], settings: dict[str, list[Any]], results: Sequence[str]) -> None:
    from ...training.display.text_table import Column, Row, print_table

    rows: list[Row | None] = [
        (f"--{name}", *(say(name, value) for value in values)) for name, values in settings.items()
    ]
    if rows:
        rows.append(None)
    rows += [(name, *(say_of(run, name) for run in runs)) for name in results]
    print_table(make_console(), [Column("", "word"), *(Column(head, "name") for head in labels(runs))], rows)
