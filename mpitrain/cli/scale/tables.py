"""Tables of a study on the terminal, and the sentences below them."""

from collections.abc import Sequence

from ...collectives.price.units import say_seconds
from ...plain_text import count
from ...scaling.measured import PART_NAMES, Measured, Parts
from ...scaling.study import Study
from ...scaling.words import explain, say_fit
from ...training.display.text_table import Column, print_table
from ..terminal import make_console
from .options import ScaleOptions

Table = tuple[str, list[str], list[list[str]]]
"""Title, heads and rows of a table."""


def print_study(study: Study, options: ScaleOptions) -> None:
    """Print all tables and sentences."""
    console = make_console()
    for title, heads, rows in tables_of(study, options):
        print_table(console, [Column(head) for head in heads], rows, title=title)
        console.print()
    for sentence in sentences_of(study):
        console.say(sentence)


def tables_of(study: Study, options: ScaleOptions) -> list[Table]:
    """Return the tables of measured, predicted and extrapolated steps, and of threads."""
    found = [_measured(study, options)]
    if study.predictions:
        found.append(_predicted(study))
    if study.law is not None:
        found.append(_extrapolated(study, options))
    if study.threads:
        found.append(_threads(study))
    return found


def title_of(study: Study) -> str:
    """Return the model, the data and the kind of scaling."""
    case, facts = study.base.case, study.base.facts
    batch = case.batch // case.ranks if study.plan.weak else case.batch
    kind = f"weak scaling, batch {batch} for each rank" if study.plan.weak else f"strong scaling, batch {batch}"
    return f"{facts['title']}: {kind}, {count(case.threads, 'thread')} a rank"


def sentences_of(study: Study) -> list[str]:
    """Return what the tables say, in words."""
    found = [explain(study.measured[case], prediction) for case, prediction in study.predictions.items()]
    if not study.plan.alone and len(study.scaling) > 1:
        found.append("steps on a mesh are not predicted: one rank alone cannot have its stages")
    if study.fit is None:
        found.append("no law is fitted to one number of ranks")
        return found
    found.append(say_fit(study.fit))
    if study.law is None:
        return found
    ranks = ", ".join(str(one.case.ranks) for one in study.fitted)
    if any(one.oversubscribed for one in study.fitted):
        found.append(f"it is fitted to {ranks} ranks, of which some share cores: it says nothing of more cores")
    else:
        left_out = len(study.fitted) < len(study.scaling)
        found.append(f"fitted to {ranks} ranks{', those with a core each' if left_out else ''}")
    return found


def _measured(study: Study, options: ScaleOptions) -> Table:
    rows = []
    for one in study.scaling:
        cells = str(one.case.ranks), say_seconds(one.parts.total), f"{study.speedup(one):.2f}"
        rows.append([*cells, f"{study.efficiency(one):.0%}", *_shares(one.parts)])
    title = f"{title_of(study)}; median of {count(options.repeat, 'training')} of {options.run.steps} steps"
    return title, ["ranks", "step", "speed-up", "efficiency", *PART_NAMES], rows


def _predicted(study: Study) -> Table:
    rows = []
    for case, prediction in study.predictions.items():
        parts, step = prediction.parts, study.measured[case].parts.total
        compute, waits_input, waiting, messages = (say_seconds(getattr(parts, name)) for name in PART_NAMES)
        cells = [str(case.ranks), say_seconds(parts.total), compute, waits_input, waiting]
        rows.append([*cells, "-" if prediction.reason else messages, f"{parts.total / step - 1:+.0%}"])
    return "predicted by one rank alone and the prices of messages", ["ranks", "step", *PART_NAMES, "error"], rows


def _extrapolated(study: Study, options: ScaleOptions) -> Table:
    law = study.law
    assert law is not None
    rows = []
    for ranks in study.further(options.extrapolate):
        low, high = law.band(ranks)
        cells = [str(ranks), say_seconds(law.seconds(ranks)), f"{law.speedup(ranks):.3g}"]
        rows.append([*cells, f"{low:.3g}", f"{high:.3g}", f"{law.speedup(ranks) / ranks:.0%}"])
    title = f"by {law.law}'s law, over one rank, if there is a core for each"
    return title, ["ranks", "step", "speed-up", "from", "to (95%)", "efficiency"], rows


def _threads(study: Study) -> Table:
    best = min(one.parts.total for one in study.threads)
    rows = [_thread_row(one, best) for one in study.threads]
    cores = study.threads[0].case.threads * study.threads[0].case.ranks
    title = f"ranks and threads on {count(cores, 'core')}, batch {study.threads[0].case.batch}"
    return title, ["ranks", "threads", "step", "over the fastest", *PART_NAMES], rows


def _thread_row(one: Measured, best: float) -> list[str]:
    cells = [str(one.case.ranks), str(one.case.threads), say_seconds(one.parts.total)]
    return [*cells, f"{one.parts.total / best:.2f}", *_shares(one.parts)]


def _shares(parts: Parts) -> Sequence[str]:
    return [f"{parts.share(name):.0%}" for name in PART_NAMES]
