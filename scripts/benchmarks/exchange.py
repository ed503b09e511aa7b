"""What training gains and loses by fewer, smaller or later messages: the same training with each method, in turn.

scripts/bench exchange [--launch COMMAND] [--only NAME,...] [--repeats N] [--target SCORE] [OPTIONS of mpitrain train]

A run with every method, and one of them without compression that exchanges in every step. The table has bytes and
messages of a rank, the time of a step, and what is learned: after the same samples, and in the same seconds.

  --launch COMMAND   starts the ranks ("mpirun -n 4"); over a slow network, one with its hosts
  --only NAME,...    these methods only; the plain run always
  --repeats N        runs of each method, of which medians count
  --target SCORE     accuracy on the test samples whose time is told (0.88)
  --plot FILE.svg    loss on the test samples over samples and over seconds
  --json FILE        write the evaluations there
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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
    "diloco": ("--sync", "diloco:steps=16"),
}
"""Each method and its options; the first is what the others are compared with."""


def run(launch, options):
    """Return the report of one run, and its evaluations."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        program = [sys.executable, "-m", "mpitrain", *options, "--progress", "none", "--out", str(out)]
        subprocess.run([*launch, *program], check=True, timeout=7200, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return json.loads((out / "report.json").read_text()), evaluations(rows)


def evaluations(rows):
    """Return (steps, seconds of training, loss, accuracy) of each evaluation, on the test samples."""
    found, seconds = [], 0.0
    for row in rows:
        if row["kind"] == "epoch":
            seconds += row["seconds"]
            found.append((row["step"], seconds, row["test"]["loss"], row["test"]["accuracy"]))
    return found


def time_to(target, found):
    """Return the seconds after which the accuracy was ``target``; infinite if it never was."""
    return next((seconds for _, seconds, _, accuracy in found if accuracy >= target), float("inf"))


def loss_at(seconds, found):
    """Return the loss of the last evaluation up to then; NaN before the first."""
    return next((loss for _, then, loss, _ in reversed(found) if then <= seconds), float("nan"))


def print_table(results, target):
    """Print a row for each method."""
    first = next(iter(results.values()))
    budget = statistics.median(found[-1][1] for _, found in first) / 2
    print(f"{'method':10}{'MB a step':>11}{'messages':>10}{'ms a step':>11}{'loss':>9}{'accuracy':>10}", end="")
    print(f"{f'loss at {budget:.0f} s':>14}{f's to {target:g}':>12}")
    for name, runs in results.items():
        median = lambda of, runs=runs: statistics.median(of(report, found) for report, found in runs)  # noqa: E731
        print(
            f"{name:10}{median(lambda report, found: report['bytes_per_step']) / 1e6:11.3f}"
            f"{median(lambda report, found: report['messages_per_step']):10.1f}"
            f"{1e3 * median(lambda report, found: found[-1][1] / found[-1][0]):11.1f}"
            f"{median(lambda report, found: found[-1][2]):9.4f}{median(lambda report, found: found[-1][3]):10.4f}"
            f"{median(lambda report, found: loss_at(budget, found)):14.4f}"
            f"{median(lambda report, found: time_to(target, found)):12.1f}"
        )


def plot(path, results):
    """Draw the loss on the test samples over the steps and over the seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    by_steps, by_seconds = figure.subplots(1, 2, sharey=True)
    for number, (name, runs) in enumerate(results.items()):
        _, found = runs[0]
        losses, style = [loss for *_, loss, _ in found], {"color": f"C{number % 10}", "label": name, "marker": "."}
        by_steps.plot([step for step, *_ in found], losses, **style)
        by_seconds.plot([seconds for _, seconds, *_ in found], losses, **style)
    by_steps.set(xlabel="steps (the same samples)", ylabel="loss on the test samples", yscale="log")
    by_seconds.set(xlabel="seconds of training")
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
    arguments, options = parser.parse_known_args()
    wanted = arguments.only.split(",")
    unknown = sorted(set(wanted) - set(METHODS))
    if unknown:
        parser.error(f"there is no method {unknown[0]}; there are {', '.join(METHODS)}")
    kinds = {name: extra for name, extra in METHODS.items() if name in wanted or not extra}
    results = {name: [] for name in kinds}
    for _ in range(arguments.repeats):
        for name, extra in kinds.items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            results[name].append(run(shlex.split(arguments.launch), [*options, "--shard", "none", *extra]))
    print(f"{arguments.launch}, {' '.join(options) or 'the default run'}, median of {arguments.repeats} runs")
    print_table(results, arguments.target)
    if arguments.plot:
        plot(arguments.plot, results)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({n: [found for _, found in runs] for n, runs in results.items()}))


if __name__ == "__main__":
    main()
