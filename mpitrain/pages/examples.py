"""Single test samples of a run: who is taken for whom, and the samples with the largest losses."""

import re
from collections.abc import Sequence
from typing import Any

from . import facts
from .markup import Html, Text, element, escape, join, paragraph, section, table
from .run import Run
from .words import MISSING, figure, many, share

PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
STRONGEST = 0.4  # of the color behind a count, so that the number stays readable


def mistakes(runs: Sequence[Run]) -> Html:
    """Return the section with confusion matrices."""
    return section("Confusion matrix", *(_matrix(run, alone=len(runs) == 1) for run in runs))


def _matrix(run: Run, *, alone: bool) -> Html:
    names, rows = _names(run), facts.items(run.examples, "confusion")
    whole = bool(rows) and all(isinstance(row, list) and len(row) == len(rows) for row in rows)
    pairs = facts.tables(run.examples, "pairs")
    if not whole and not pairs:
        return Html()
    heading = Html() if alone else element("h3", run.name)
    note = paragraph(f"{_examined(run)} by the weights of step {facts.whole(run.examples, 'step'):,}.", "soft")
    if not whole:
        cells: list[list[Text]] = [
            [facts.text(pair, "class"), facts.text(pair, "predicted"), many(facts.number(pair, "count"))]
            for pair in pairs
        ]
        return join([heading, note, table("Classes that are confused most", ["class", "predicted", "samples"], cells)])
    labels = [names[k] if k < len(names) else str(k) for k in range(len(rows))]
    body = [[label, *_counts(row), _recall(row, k)] for k, (label, row) in enumerate(zip(labels, rows, strict=True))]
    caption = f"True classes (rows) and predicted classes (columns), {run.name}"
    return join([heading, note, table(caption, ["", *labels, "right"], body, kind="matrix")])


def _names(run: Run) -> list[str]:
    return [str(name) for name in facts.items(run.report, "class_names")]


def _examined(run: Run) -> str:
    part, whole = (facts.whole(run.examples, key) for key in ("examined", "samples"))
    some = f"All {whole:,} test samples" if part == whole else f"{part:,} of the {whole:,} test samples"
    return some if facts.text(run.examples, "task") != "segmentation" else f"Pixels of {some[0].lower()}{some[1:]}"


def _counts(row: Sequence[Any]) -> list[Text]:
    counts = [facts.as_whole(value) for value in row]
    total = sum(counts) or 1
    return [
        Html(f"<td style='--share:{STRONGEST * value / total:.0%}'>{value:,}</td>")
        if value
        else element("td", "0", class_="zero")
        for value in counts
    ]


def _recall(row: Sequence[Any], place: int) -> str:
    counts = [facts.as_whole(value) for value in row]
    return share(counts[place] / sum(counts)) if sum(counts) else MISSING


def worst(runs: Sequence[Run]) -> Html:
    """Return the section with the test samples that have the largest losses."""
    return section("Worst test samples", *(_worst(run, alone=len(runs) == 1) for run in runs))


def _worst(run: Run, *, alone: bool) -> Html:
    samples = facts.tables(run.examples, "worst")
    if not samples:
        return Html()
    heading = Html() if alone else element("h3", run.name)
    note = paragraph(f"The largest losses of {_examined(run).lower()}; rows count from 0.", "soft")
    if any("image" in sample for sample in samples):
        cards = join(_card(sample) for sample in samples)
        return join([heading, note, element("ul", cards, class_="samples")])
    return join([heading, note, _table(samples)])


def _card(sample: dict[str, Any]) -> Html:
    words = f"row {facts.whole(sample, 'row'):,}: {_told(sample)}"
    source = facts.text(sample, "image")
    picture = (
        Html(f"<img src='{source}' alt='{escape(f'Test sample, {words}')}'>") if PICTURE.fullmatch(source) else Html()
    )
    return element("li", join([picture, element("span", f"{words}; loss {_loss(sample)}")]))


def _told(sample: dict[str, Any]) -> str:
    if "class" in sample:
        sure = share(facts.number(sample, "probability"))
        return f"{facts.text(sample, 'class')}, predicted {facts.text(sample, 'predicted')} ({sure})"
    if "accuracy" in sample:
        return f"accuracy {share(facts.number(sample, 'accuracy'))}"
    true, guess = (", ".join(map(str, facts.items(sample, key))) for key in ("target", "predicted"))
    return f"{true}, predicted {guess}"


def _loss(sample: dict[str, Any]) -> str:
    return figure("loss", facts.number(sample, "loss"))


def _table(samples: Sequence[dict[str, Any]]) -> Html:
    rows: list[list[Text]] = [
        [f"{facts.whole(sample, 'row'):,}", _loss(sample), _told(sample), _content(sample)] for sample in samples
    ]
    return table("Worst test samples", ["row", "loss", "result", "sample"], rows, kind="texts")


def _content(sample: dict[str, Any]) -> str:
    features = facts.table(sample, "features")
    return facts.text(sample, "text") or ", ".join(f"{name} {value}" for name, value in features.items())
