"""Files of a study: CSV for programs, SVG for slides, and an HTML page with everything."""

import csv
import io
import shlex
import sys
from html import escape
from pathlib import Path

from ...plain_text import count
from ...scaling.measured import PART_NAMES, Measured
from ...scaling.study import Study, num_cores
from ...training.display.scaling_plot import scaling_svg
from ..files import write
from .options import ScaleOptions
from .tables import Table, sentences_of, tables_of, title_of

FIELDS = (
    *("kind", "ranks", "threads", "batch", "seconds", "fastest", "slowest", "speedup", "low", "high", "efficiency"),
    *PART_NAMES,
    *("predicted", *(f"predicted_{name}" for name in PART_NAMES)),
)
STYLE = """
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1b232c; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1.5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.3rem; }
th, td { text-align: right; padding: 0.2rem 0.8rem; white-space: nowrap; border-bottom: 1px solid #dde2e8; }
code { overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) {
  body { color: #e4e9ef; background: #14191f; }
  th, td { border-color: #2c343d; }
}
"""


def write_study(path: Path, study: Study, options: ScaleOptions) -> None:
    """Write a study to ``path``, as its ending says."""
    if path.suffix == ".csv":
        write(path, csv_text(study, options))
    elif path.suffix == ".svg":
        write(path, scaling_svg(study, title_of(study), options.extrapolate))
    else:
        write(path, html_page(study, options))


def csv_text(study: Study, options: ScaleOptions) -> str:
    """Return a row for each measured (kind measured, threads) and extrapolated number of ranks; times are seconds."""
    output = io.StringIO()
    writer = csv.DictWriter(output, FIELDS, lineterminator="\n")
    writer.writeheader()
    for one in study.scaling:
        row = _row("measured", one) | {"speedup": study.speedup(one), "efficiency": study.efficiency(one)}
        prediction = study.predictions.get(one.case)
        if prediction is not None:
            row |= {f"predicted_{name}": getattr(prediction.parts, name) for name in PART_NAMES}
            row |= {"predicted": prediction.parts.total}
            row |= {"predicted_messages": ""} if prediction.reason else {}
        writer.writerow(row)
    writer.writerows(_row("threads", one) for one in study.threads)
    law = study.law
    for ranks in study.further(options.extrapolate) if law is not None else []:
        assert law is not None
        low, high = law.band(ranks)
        found = {"kind": law.law, "ranks": ranks, "seconds": law.seconds(ranks), "speedup": law.speedup(ranks)}
        writer.writerow({**found, "low": low, "high": high, "efficiency": law.speedup(ranks) / ranks})
    return output.getvalue()


def _row(kind: str, one: Measured) -> dict[str, object]:
    case, seconds = one.case, one.seconds
    row = {"kind": kind, "ranks": case.ranks, "threads": case.threads, "batch": case.batch}
    times = {"seconds": one.parts.total, "fastest": min(seconds), "slowest": max(seconds)}
    return {**row, **times, **{name: getattr(one.parts, name) for name in PART_NAMES}}


def html_page(study: Study, options: ScaleOptions) -> str:
    """Return a page with the plot, the tables and the sentences, in one file without network access."""
    title = f"Scaling of {title_of(study)}"
    facts = study.base.facts
    command = shlex.join(["mpitrain", *sys.argv[1:]])
    parts = [
        f"<h1>{escape(title)}</h1>",
        scaling_svg(study, title_of(study), options.extrapolate),
        "<h2>In words</h2>",
        "<ul>",
        *(f"<li>{escape(sentence)}</li>" for sentence in sentences_of(study)),
        "</ul>",
        "<h2>In numbers</h2>",
        *(_html_table(table) for table in tables_of(study, options)),
        f"<p>{escape(facts['mpi'])}, {count(num_cores(), 'core')}, {escape(', '.join(facts['devices']))}; measured by "
        f"<code>{escape(command)}</code></p>",
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _html_table(table: Table) -> str:
    title, heads, rows = table
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    lines = [
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    ]
    body = "\n".join(lines)
    caption, region = f"<caption>{escape(title)}</caption>", f'role="region" tabindex="0" aria-label="{escape(title)}"'
    table_text = f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<div class="wide" {region}>{table_text}</div>'
