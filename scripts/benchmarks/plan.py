"""Meshes beside their prices: step and memory of what --mesh auto could choose, predicted and as they run.

    scripts/bench plan [--ranks P] [--only MODEL] [--json FILE]

All ranks measure as --mesh auto does. Then each mesh of the search, with its best schedule, trains ten steps, of which
eight count. Times are medians of the slowest rank. Memory is by how much a process has grown at the end of the last
step (its proportional set, in which memory that ranks share counts once for all of them), of the rank that has most.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from plan_worker import CASES

WORKER = Path(__file__).with_name("plan_worker.py")
TOKENS = 200_000
VOCABULARY = 4096


def say(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    if row["error"]:
        return f"| {row['model']} | {row['mesh']} {row['how']} | {row['error']} |"
    times = f"{1e3 * row['predicted']:.1f} | {1e3 * row['measured']:.1f} | {row['predicted'] / row['measured']:.2f}"
    sizes = f"{row['predicted_bytes'] / 1e6:.0f} | {row['measured_bytes'] / 1e6:.0f}"
    ratio = row["predicted_bytes"] / row["measured_bytes"]
    return f"| {row['model']} | {row['mesh']} {row['how']} | {times} | {sizes} | {ratio:.2f} |"


def run(folder: str, ranks: int, number: int, what: str) -> list[dict[str, Any]]:
    """Run the worker in processes of its own, and return the rows of a case."""
    command = ["mpirun", "-n", str(ranks), sys.executable, str(WORKER), folder, str(number), what]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows: list[dict[str, Any]] = json.loads(Path(folder, f"plan{number}.json").read_text())
    return rows


def main() -> int:
    """Plan and run all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose model begins so")
    parser.add_argument("--json", default="", help="file for the results")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        for split, count in (("train", TOKENS), ("val", TOKENS // 10)):
            tokens = rng.integers(0, VOCABULARY, count, dtype=np.uint16)
            tokens[0] = VOCABULARY - 1
            tokens.tofile(Path(folder) / f"{split}.bin")
        print(f"load before: {os.getloadavg()[0]:.1f}")
        print("| model | mesh | predicted ms | measured ms | ratio | predicted MB | measured MB | ratio |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for number, case in enumerate(CASES):
            if not case.model.startswith(options.only):
                continue
            for place in range(len(run(folder, options.ranks, number, "plan"))):
                found.append(run(folder, options.ranks, number, str(place))[place])
                print(say(found[-1]), flush=True)
        print(f"load after: {os.getloadavg()[0]:.1f}")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
