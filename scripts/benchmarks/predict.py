"""Predictions of a large csv file: rows a second on several ranks, against the sum of what each does alone.

A multi-layer perceptron reads, computes and writes every row. Start-up, measured with a file of few rows, is not
counted; runs on one rank and on several alternate, and medians are compared. --memory shows the largest memory of a
rank for files of 1, 2 and 4 times the size.

    scripts/bench predict [--ranks N] [--rows N] [--repeat N] [--memory]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
COLUMNS, FEW = 20, 100
PATIENCE = 900.0  # seconds for one run


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench predict", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks (2)")
    parser.add_argument("--rows", type=int, default=600_000, metavar="N", help="rows of the file (600,000)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs that are timed (5)")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "train.csv", 2000, target=True)
        run = [sys.executable, "-m", "mpitrain", "train", "--data", "csv:train.csv,target=y", "--epochs", "1"]
        command([*run, "--model", "mlp:widths=256+256", "--out", "run", "--progress", "none"], folder)
        write_rows(folder / "few.csv", FEW)
        if options.memory:
            return show_memory(folder, options.rows)
        write_rows(folder / "large.csv", options.rows)
        return show_speed(folder, options.ranks, options.rows, options.repeat)


def write_rows(path: Path, rows: int, *, target: bool = False) -> None:
    """Write a table of random numbers."""
    rng = np.random.default_rng(1)
    names = [*(f"f{k}" for k in range(COLUMNS)), *["y"] * target]
    line = ",".join(["%.6f"] * COLUMNS)
    with path.open("w") as file:
        file.write(",".join(names) + "\n")
        for start in range(0, rows, 10_000):
            for x in rng.normal(size=(min(rows - start, 10_000), COLUMNS)).tolist():
                label = f",{'ab'[x[0] > 0]}" if target else ""
                file.write(line % tuple(x) + label + "\n")


def command(words: list[str], folder: Path) -> float:
    """Run a command, and return the seconds that it took."""
    begin = time.perf_counter()
    subprocess.run(
        words, cwd=folder, env=os.environ | ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE
    )
    return time.perf_counter() - begin


def predict(ranks: int, file: str, folder: Path) -> float:
    """Return the seconds of a prediction."""
    words = ["mpirun", "-n", str(ranks), sys.executable, "-m", "mpitrain", "predict", "run"]
    return command([*words, "--data", f"csv:{file}", "--out", "out.csv"], folder)


def show_speed(folder: Path, ranks: int, rows: int, repeat: int) -> int:
    """Measure and print."""
    seconds: dict[tuple[int, str], list[float]] = {}
    for _ in range(repeat):
        for n in (1, ranks):
            for file in ("few.csv", "large.csv"):
                seconds.setdefault((n, file), []).append(predict(n, file, folder))
    median = {key: statistics.median(found) for key, found in seconds.items()}
    speeds = {n: rows / (median[n, "large.csv"] - median[n, "few.csv"]) for n in (1, ranks)}
    for n, speed in speeds.items():
        print(f"{n} rank{'s' * (n > 1)}  start-up {median[n, 'few.csv']:.2f} s  {speed:,.0f} rows/s")
    print(f"{speeds[ranks] / ranks / speeds[1]:.2f} of {ranks} times the speed of one rank")
    return 0


def show_memory(folder: Path, rows: int) -> int:
    """Measure and print; the peak of all children so far grows, so that sizes go up."""
    for times in (1, 2, 4):
        write_rows(folder / "large.csv", times * rows)
        size = (folder / "large.csv").stat().st_size / 1e6
        predict(1, "large.csv", folder)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
        print(f"file of {size:,.0f} MB: at most {peak:,.0f} MB in memory")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
