"""Meshes beside their prices: step and memory of what --mesh auto could choose, predicted and as they run.

    scripts/bench plan [--ranks P] [--only MODEL] [--json FILE]

All ranks measure as --mesh auto does. Then each mesh of the search, with its best schedule, trains ten steps, of which
eight count. Times are medians of the slowest rank. Memory is by how much a process has grown at the end of the last
step (its proportional set, in which memory that ranks share counts once for all of them), of the rank that has most.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WORKER = Path(__file__).with_name("plan_worker.py")
TOKENS = 200_000
VOCABULARY = 4096


def main() -> int:
    """Start the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose model begins so")
    parser.add_argument("--json", default="", help="file for the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        for split, number in (("train", TOKENS), ("val", TOKENS // 10)):
            tokens = rng.integers(0, VOCABULARY, number, dtype=np.uint16)
            tokens[0] = VOCABULARY - 1
            tokens.tofile(Path(folder) / f"{split}.bin")
        command = ["mpirun", "-n", str(options.ranks), sys.executable, str(WORKER), folder, options.only, options.json]
        print(f"load before: {os.getloadavg()[0]:.1f}")
        code = subprocess.run(command, check=False).returncode
        print(f"load after: {os.getloadavg()[0]:.1f}")
    return code


if __name__ == "__main__":
    sys.exit(main())
