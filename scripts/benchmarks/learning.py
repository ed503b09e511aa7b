"""Train on real texts, and compare what was learned with plain methods and with the same training in PyTorch.

snippets and reuters fine-tune MiniLM to tell classes of texts, dictionary trains a GPT-2 from the beginning. Both sides
begin with the same weights and take the same batches in the same order, with the same learning rates. All that is done
stays in --folder, and is not done again. Data and weights (150 MB) come from package registries.

    scripts/bench learning [--only TASK] [--epochs N] [--seeds N] [--threads N] [--folder DIR] [--json FILE]
    scripts/bench learning --ranks P [--only TASK] [--steps N] [--folder DIR] [--json FILE]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import learning_data
from learning_tasks import TASKS

from mpitrain.cli.terminal import make_console
from mpitrain.training.display.text_table import Column, print_table

PEER = Path(__file__).with_name("learning_peer.py")
PROMPTS = ('\nSeaweed \\Sea"weed\\, n.', "\n   1. A small vessel, used", "\n   The act of")
Row = dict[str, object]


def main() -> int:
    options = parse(sys.argv[1:])
    chosen = [name for name in TASKS if options.only in name]
    if not chosen:
        print(f"no task has '{options.only}' in its name; there are: {', '.join(TASKS)}", file=sys.stderr)
        return 2
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "MPITRAIN_TOKENS": str(options.folder / "tokens")}
    rows: list[Row] = []
    for name in chosen:
        bench = Bench(name, options)
        rows += bench.compare_ranks() if options.ranks else [bench.compare(seed) for seed in range(options.seeds)]
    (show_ranks if options.ranks else show)(rows)
    if "dictionary" in chosen and not options.ranks:
        write_samples(bench.run_directory(0))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench learning", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="", metavar="TASK", help=f"tasks with this in their name: {', '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="train with the seeds 0 ... N - 1 (1)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each side (1)")
    parser.add_argument("--epochs", type=int, default=0, metavar="N", help="another number than that of the task")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="so many steps only, to try it")
    parser.add_argument(
        "--ranks", type=int, default=0, metavar="P", help="instead, compare the losses of --steps (20) on 1 and P ranks"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/learning"), help="for all files (build/learning)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    return options


class Bench:
    """A task with its data prepared."""

    def __init__(self, name: str, options: argparse.Namespace):
        self.name, self.task, self.options = name, TASKS[name], options
        packages, self.folder = options.folder / "packages", options.folder / name
        packages.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "prepared").exists():
            self.folder.mkdir(exist_ok=True)
            self.task.prepare(self.folder, packages)
            (self.folder / "prepared").touch()
        minilm = learning_data.minilm(packages) if "weights" in self.task.options else Path()
        self.steps = options.steps or 20 * bool(options.ranks)
        self.command = self.task.command(self.folder, minilm, steps=self.steps, epochs=options.epochs)
        self.command += ["--threads", str(options.threads)]

    def compare(self, seed: int) -> Row:
        """Train both sides, unless that was done, and return their scores and costs."""
        ours = self.run_directory(seed)
        theirs = ours.with_name(f"{ours.name.replace('ours', 'pytorch')}.jsonl")
        self.train(ours, "--seed", str(seed))
        if not theirs.exists():
            run([sys.executable, PEER, ours, theirs])
        row: Row = {"task": self.name, "seed": seed, "score": self.task.score, "method": self.task.method}
        row["floor"] = self.floor()
        for side, path in (("ours", ours / "metrics.jsonl"), ("pytorch", theirs)):
            lines = read_lines(path)
            test = [line["test"] for line in lines if line["kind"] == "epoch"][-1]
            row |= {f"{side}_loss": test["loss"], side: test[self.task.score]}
            row |= {f"{side}_{key}": value for key, value in read_cost(path).items()}
        return row

    def run_directory(self, seed: int) -> Path:
        """Return the directory of our run."""
        length = {"steps": self.steps, "epochs": self.options.epochs}
        return self.folder / "-".join(["ours", str(seed), *(f"{key}-{n}" for key, n in length.items() if n)])

    def floor(self) -> float:
        """Return the score of a plain method."""
        path = self.folder / "floor.json"
        if not path.exists():
            path.write_text(json.dumps(self.task.floor(self.folder)))
        return json.loads(path.read_text())

    def train(self, out: Path, *options: str, ranks: int = 1) -> None:
        """Train with mpitrain, unless that was done."""
        if (out / "report.json").exists():
            return
        shutil.rmtree(out, ignore_errors=True)
        launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        command = [*launcher, sys.executable, "-m", "mpitrain", "train", *self.command, *options]
        run([*command, "--checkpoint-every", "0", "--progress", "lines", "--out", out], out / "metrics.jsonl")

    def compare_ranks(self) -> list[Row]:
        """Train some steps on one and on several ranks, and return how much the losses of steps differ."""
        losses = []
        for ranks in (1, self.options.ranks):
            out = self.folder / f"ranks-{ranks}-steps-{self.steps}"
            self.train(out, ranks=ranks)
            losses.append([line["loss"] for line in read_lines(out / "metrics.jsonl") if line["kind"] == "step"])
        apart = [abs(one - other) / one for one, other in zip(*losses, strict=True)]
        found = {"first": apart[0], "most": max(apart)}
        return [{"task": self.name, "ranks": self.options.ranks, "steps": self.steps} | found]


def run(command: Sequence[object], result: Path | None = None) -> None:
    """Run a command, and write its seconds and those of CPUs beside its result, by default its last word."""
    words, begin = [str(word) for word in command], time.perf_counter()
    print(" ".join(words), file=sys.stderr)
    process = subprocess.Popen(words)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{words[0]} failed")
    cost = {"seconds": time.perf_counter() - begin, "cpu_seconds": used.ru_utime + used.ru_stime}
    cost_path(result or Path(words[-1])).write_text(json.dumps(cost))


def cost_path(result: Path) -> Path:
    return result.with_suffix(".cost.json")


def read_cost(result: Path) -> dict[str, float]:
    path = cost_path(result)
    return json.loads(path.read_text()) if path.exists() else {}


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def show(rows: Sequence[Row]) -> None:
    heads = ("seed", "plain", "ours", "PyTorch", "loss: ours", "PyTorch", "apart", "seconds: ours", "PyTorch",
             "CPU s: ours", "PyTorch")  # fmt: skip
    columns = [Column("task", "word"), *(Column(head) for head in heads), Column("score, plain method", "text")]
    lines = []
    for row in rows:
        cells = [f"{row[key]:.4f}" for key in ("floor", "ours", "pytorch", "ours_loss", "pytorch_loss")]
        cells += [f"{row['ours_loss'] - row['pytorch_loss']:+.4f}"]
        cells += [
            f"{row[key]:.0f}" if key in row else ""
            for key in ("ours_seconds", "pytorch_seconds", "ours_cpu_seconds", "pytorch_cpu_seconds")
        ]
        lines.append((str(row["task"]), str(row["seed"]), *cells, f"{row['score']}, {row['method']}"))
    print_table(make_console(), columns, lines)


def show_ranks(rows: Sequence[Row]) -> None:
    columns = [Column("task", "word"), *(Column(head) for head in ("ranks", "steps", "first step", "largest"))]
    lines = [
        (str(row["task"]), f"1, {row['ranks']}", str(row["steps"]), f"{row['first']:.1e}", f"{row['most']:.1e}")
        for row in rows
    ]
    print_table(make_console(), columns, lines, title="Relative differences of the losses of steps")


def write_samples(path: Path) -> None:
    """Print what the language model writes."""
    prompts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    command = [sys.executable, "-m", "mpitrain", "generate", path, *prompts]
    subprocess.run([*command, "--tokens", "120", "--temperature", "0.7"], check=True)


if __name__ == "__main__":
    sys.exit(main())
