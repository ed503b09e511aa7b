"""A plot of all-reduces: measured times as dots, predicted ones as lines, over the length of the buffer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def plot_bench(path: Path, rows: Sequence[Any], predicted: Mapping[tuple[str, int], float]) -> None:
    """Draw ``rows`` (algorithm, bytes, us) and ``predicted`` microseconds of (algorithm, bytes) to ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(dict.fromkeys(row.algorithm for row in rows)):
        color = f"C{number % 10}"
        mine = [row for row in rows if row.algorithm == name]
        times = [row.us for row in mine]
        axes.plot([row.bytes for row in mine], times, "o", color=color, label=_as_label(name), markersize=4)
        guesses = [(row.bytes, predicted[name, row.bytes]) for row in mine if (name, row.bytes) in predicted]
        if guesses:
            axes.plot(*zip(*guesses), "-", color=color, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="bytes", ylabel="microseconds (dots measured, lines predicted)")
    axes.set_title(f"all-reduce on {rows[0].ranks} ranks")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path)


def _as_label(name: str) -> str:
    """Return a name that matplotlib shows as it is: a dollar begins a formula, and an underscore hides a label."""
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name
