"""Cost of safety options: whole runs with an option against the same runs without it, in turn.

scripts/bench safety [--ranks P] [--repeats N] [OPTIONS of mpitrain train]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENVIRONMENT = os.environ | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def variants(ranks):
    plain = ("--shard", "none", "--threads", "1")
    return {
        "plain": plain,
        "no watchdog": (*plain, "--timeout", "0"),
        "checkpoint every 10 steps": (*plain, "--checkpoint-every", "10"),
        f"reproducible, {ranks} shards": (*plain, "--reproducible", str(ranks)),
        f"reproducible, {4 * ranks} shards": (*plain, "--reproducible", str(4 * ranks)),
    }


def run(ranks, options):
    """Return the report of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        program = [sys.executable, "-m", "mpitrain", *options, "--progress", "none", "--out", str(out)]
        subprocess.run(["mpirun", "-n", str(ranks), *program], env=ENVIRONMENT, check=True, timeout=300)
        return json.loads((out / "report.json").read_text())


def cost_of_a_note(count=100_000):
    """Return the seconds that begin, wait and end of one collective take in the ledger, its hash among them."""
    from mpi4py import MPI

    from mpitrain.comm.watch.ledger import Ledger

    ledger = Ledger(MPI.COMM_SELF, 0)
    label = ledger.label("bucket 0", compared="bucket 0")
    begin = time.perf_counter()
    for _ in range(count):
        at = ledger.begin(label, waits=False)
        ledger.waits(at)
        ledger.end(at)
    return (time.perf_counter() - begin) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments, options = parser.parse_known_args()
    kinds = variants(arguments.ranks)
    reports = {name: [] for name in kinds}
    for _ in range(arguments.repeats):
        for name, extra in kinds.items():
            reports[name].append(run(arguments.ranks, [*options, *extra]))
    print(f"{arguments.ranks} ranks, {' '.join(options) or 'the default run'}, median of {arguments.repeats} runs")
    plain = [report["samples_per_second"] for report in reports["plain"]]
    for name, found in reports.items():
        speeds = [report["samples_per_second"] for report in found]
        ratio = statistics.median(speed / base for speed, base in zip(speeds, plain, strict=True))
        stalls = [report["checkpoints"]["stall_ms"] for report in found if report["checkpoints"]["written"]]
        stall = f"  {statistics.median(stalls):.1f} ms standing still for each" if stalls else ""
        print(f"{name:28}{statistics.median(speeds):9,.0f} samples/s  {ratio:.2f}{stall}")

    print(f"a note in the ledger: {1e6 * statistics.median(cost_of_a_note() for _ in range(5)):.2f} us")


if __name__ == "__main__":
    main()
