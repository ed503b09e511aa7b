"""Compressed and rarer exchange of gradients, by messages, time and loss: a training with each method in turn.

scripts/bench exchange [--launch COMMAND] [--only NAME,...] [--repeats N] [--target SCORE] [OPTIONS of mpitrain train]

A run with every method, and one of them without compression that exchanges in every step. The table has bytes and
messages of a rank, the time of a step, and what is learned: after the same samples, and in the same seconds.

  --launch COMMAND   starts the ranks ("mpirun -n 4"); over a slow network, one with its hosts
  --only NAME,...    these methods only; the plain run always
  --repeats N        runs of each method, of which medians count
  --target SCORE     accuracy on the test samples whose time is told (0.88)
  --plot FILE.svg    loss on the test samples over samples and over seconds
  --json FILE        write the reports and evaluations there
  --calibration FILE a calibration of the same ranks (mpitrain collective calibrate -o FILE): what prices predict
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from mpitrain.collectives.price import load_calibration, predict

METHODS = {
    "plain": (),
    "bf16": ("--compress", "bf16"),
    "fp16": ("--compress", "fp16"),
    "int8": ("--compress", "int8"),
    "sign": ("--compress", "sign"),
    "topk": ("--compress", "topk:fraction=0.01"),
    "randomk": ("--compress", "randomk:fraction=0.01"),
    "powersgd": ("--compress", "powersgd:rank=4"),
    "local": ("--sync", "local:steps=16"),
    "post_local": ("--sync", "post_local:steps=16,after=100"),
    "diloco": ("--sync", "diloco:steps=16", "--lr", "0.005"),
    "easgd": ("--sync", "easgd:steps=16"),
    "daso": ("--sync", "daso:steps=4"),
    "gossip": ("--sync", "gossip"),
    "adasum": ("--sync", "adasum"),
    "stale": ("--sync", "stale"),
    "server": ("--sync", "server"),
}
"""Each method and its options; the first is what the others are compared with."""


class Evaluation(NamedTuple):
    """Scores on the test samples after so many steps, and so many seconds of training."""

    steps: int
    seconds: float
    loss: float
    accuracy: float


class Run(NamedTuple):
    """The report of a run, and its evaluations."""

    report: dict
    found: list


def run(launch, options):
    """Run ``mpitrain train``."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        program = [sys.executable, "-m", "mpitrain", *options, "--progress", "none", "--out", str(out)]
        subprocess.run([*launch, *program], check=True, timeout=7200, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return Run(json.loads((out / "report.json").read_text()), evaluations(rows))


def evaluations(rows):
    """Return the evaluations in the rows of metrics.jsonl."""
    found, seconds = [], 0.0
    for row in rows:
        if row["kind"] == "epoch":
            seconds += row["seconds"]
            found.append(Evaluation(row["step"], seconds, row["test"]["loss"], row["test"]["accuracy"]))
    return found


def time_to(target, found):
    """Return the seconds after which the accuracy was ``target``; infinite if it never was."""
    return next((one.seconds for one in found if one.accuracy >= target), float("inf"))


def loss_at(seconds, found):
    """Return the loss of the last evaluation up to then; NaN before the first."""
    return next((one.loss for one in reversed(found) if one.seconds <= seconds), float("nan"))


def exchange_seconds(run):
    """Return the seconds of a step that are not the rank's own work."""
    share = run.report["time_share"]
    return (1 - share["compute"] - share["input"]) * run.found[-1].seconds / run.found[-1].steps


def predicted_seconds(run, calibration):
    """Return the price of the messages of a step; NaN for methods that do not send by a collective.

    Lengths are those of the bytes that a rank sent: 2 (P - 1) / P of a buffer in an all-reduce, half of it in others.
    """
    report, size = run.report, run.report["ranks"]
    method = report.get("sync", {}).get("method", "")
    if method and "steps=" not in method:
        return float("nan")
    every = int(method.split("steps=")[1].split(",")[0]) if method else 1
    names, _, codec = report["all_reduce"].partition(" of ")
    collectives = names.split(" and ")
    if codec.startswith("powersgd") and len(collectives) == 1:  # both factors by the same algorithm
        collectives *= 2
    seconds = 0.0
    for name in collectives:
        sent = report["bytes_per_step"] * every / len(collectives)
        length = sent * size / (size - 1) / (1 if "/" in name else 2)
        seconds += predict(size, length, calibration, algorithms=[name])[name] / every
    return seconds


def predicted_time_to(target, run, calibration):
    """Return the seconds until then of the rank's own work and the predicted messages."""
    steps = next((one.steps for one in run.found if one.accuracy >= target), float("inf"))
    own = run.found[-1].seconds / run.found[-1].steps - exchange_seconds(run)
    return steps * (own + predicted_seconds(run, calibration))


def table(results, target, calibration=None):
    """Return the lines of a table with a row for each method: medians over its runs."""
    first = next(iter(results.values()))
    budget = statistics.median(run.found[-1].seconds for run in first) / 2
    columns = {
        "MB a step": (lambda run: run.report["bytes_per_step"] / 1e6, ".3f"),
        "messages": (lambda run: run.report["messages_per_step"], ".2f"),
        "ms a step": (lambda run: 1e3 * run.found[-1].seconds / run.found[-1].steps, ".1f"),
        "seconds": (lambda run: run.found[-1].seconds, ".1f"),
        "loss": (lambda run: run.found[-1].loss, ".4f"),
        "accuracy": (lambda run: run.found[-1].accuracy, ".4f"),
        f"loss at {budget:.0f} s": (lambda run: loss_at(budget, run.found), ".4f"),
        f"s to {target:g}": (lambda run: time_to(target, run.found), ".1f"),
    }
    if calibration:
        columns |= {
            "exchange ms": (lambda run: 1e3 * exchange_seconds(run), ".2f"),
            "predicted": (lambda run: 1e3 * predicted_seconds(run, calibration), ".2f"),
            "predicted s": (lambda run: predicted_time_to(target, run, calibration), ".1f"),
        }
    lines = [" ".join([f"{'method':10}", *(f"{name:>12}" for name in columns)])]
    for name, runs in results.items():
        cells = [f"{statistics.median(map(of, runs)):12{form}}" for of, form in columns.values()]
        lines.append(" ".join([f"{name:10}", *cells]))
    return lines


def plot(path, results):
    """Draw the loss on the test samples over the steps and over the seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    by_steps, by_seconds = figure.subplots(1, 2, sharey=True)
    for number, (name, runs) in enumerate(results.items()):
        found, style = runs[0].found, {"color": f"C{number % 10}", "label": name, "marker": "."}
        style["linestyle"] = "-" if number < 10 else "--"
        losses = [one.loss for one in found]
        by_steps.plot([one.steps for one in found], losses, **style)
        by_seconds.plot([one.seconds for one in found], losses, **style)
    by_steps.set(xlabel="steps (the same samples)", ylabel="loss on the test samples", yscale="log")
    by_seconds.set(xlabel="seconds of training", xscale="log")
    by_steps.legend(fontsize="small")
    for axes in (by_steps, by_seconds):
        axes.grid(alpha=0.3)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=True)
    parser.add_argument("--launch", default="mpirun -n 4")
    parser.add_argument("--only", default=",".join(METHODS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--target", type=float, default=0.88)
    parser.add_argument("--plot", default="")
    parser.add_argument("--json", default="")
    parser.add_argument("--calibration", default="")
    arguments, options = parser.parse_known_args()
    wanted = arguments.only.split(",")
    unknown = sorted(set(wanted) - set(METHODS))
    if unknown:
        parser.error(f"there is no method {unknown[0]}; there are {', '.join(METHODS)}")
    calibration = load_calibration(arguments.calibration) if arguments.calibration else None
    kinds = {name: extra for name, extra in METHODS.items() if name in wanted or not extra}
    results = {name: [] for name in kinds}
    for _ in range(arguments.repeats):
        for name, extra in kinds.items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            results[name].append(run(shlex.split(arguments.launch), [*options, "--shard", "none", *extra]))
    print(f"{arguments.launch}, {' '.join(options) or 'the default run'}, median of {arguments.repeats} runs")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results))
    print("\n".join(table(results, arguments.target, calibration)))
    if arguments.plot:
        plot(arguments.plot, results)


if __name__ == "__main__":
    main()
