"""A transformer block divided by axis tensor, against the whole block on one rank and PyTorch's tensor parallelism.

scripts/bench tensor [--ranks P] [--size C] [--rows N] [--tokens T] [--repeats R] [--no-peer]

Forward and backward of one block (causal attention with heads of 64, GELU) on random numbers, float32, one thread for
each rank. All variants run in turn in the same processes, R times; medians of the slowest rank count. PyTorch's side is
torch.distributed.tensor.parallel over gloo. With "one rank" the other ranks wait.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

TIMEOUT = 1800


def main() -> None:
    """Start the ranks, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    given = [f"--{name}={getattr(options, name)}" for name in ("size", "rows", "tokens", "repeats")]
    worker = [sys.executable, str(Path(__file__).with_name("tensor_worker.py")), *given]
    command = ["mpirun", "-n", str(options.ranks), *worker, *(["--no-peer"] if options.no_peer else [])]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    output = subprocess.run(command, env=environment, check=True, timeout=TIMEOUT, stdout=subprocess.PIPE, text=True)
    found = json.loads(output.stdout.splitlines()[-1])
    whole = found["medians"]["one rank"]
    print(
        f"{options.ranks} ranks, C {options.size}, {options.rows} x {options.tokens} tokens, load {found['load']:.1f}"
    )
    print(f"{'':<18}{'ms':>9}{'fastest':>9}{'speed-up':>10}")
    for name, seconds in found["medians"].items():
        print(f"{name:<18}{1e3 * seconds:>9.1f}{1e3 * found['best'][name]:>9.1f}{whole / seconds:>10.2f}")


if __name__ == "__main__":
    main()
