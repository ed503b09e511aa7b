"""Sweeps: 32 trials of unequal length on 4 ranks, against the best possible time; and a turn in the shared log.

Trials sleep for most of their time, 3 to 12 seconds, so that it matters little who else uses the cores; others compute.
The bound is the sum of the times of all trials over the ranks, or the longest trial: no order of these trials is
faster. Time counts from the first trial's begin to the last one's end; a rank's pauses between trials are in it.

    scripts/bench sweep [--ranks N] [--trials N] [--scale F] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HOOK = """
import time
from mpitrain import Hook

class Sleep(Hook):
    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds

    def step_end(self, info):
        time.sleep(self.seconds / info.run.length.total_steps)
"""
SWEEP = """[sweep]
method = "grid"
metric = "accuracy"
{cost}
[train]
data = "digits"
model = "mlp:widths=256"
batch-size = 32
validation = 0.2
monitor = "sqlite:file=runs.sqlite"
{train}
[parameters]
{parameters}
"""
TURNS = """
import sys, time
import numpy as np
from mpitrain.comm.world import World
from mpitrain.comm.shared_log import SharedLog
world = World()
log = SharedLog(world._comm, 1 << 20)
world.barrier()
times = []
if world.rank == 0 and sys.argv[1] == "busy":
    a, end = np.ones((1000, 1000)), time.perf_counter() + 4
    while time.perf_counter() < end:
        a @ a
else:
    for _ in range(50):
        begin = time.perf_counter()
        with log.turn():
            log.read()
            log.append(b"x" * 300 + b"\\n")
        times.append(time.perf_counter() - begin)
        time.sleep(0.02)
log.free()
found = [t for ts in world.all_gather(times) for t in ts]
if world.rank == 0:
    print(1e3 * float(np.median(found)), 1e3 * max(found))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench sweep", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, default=4, metavar="N", help="ranks (4)")
    parser.add_argument("--trials", type=int, default=32, metavar="N", help="trials (32)")
    parser.add_argument("--scale", type=float, default=1.0, metavar="F", help="factor of all sleeps (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    sleeps = [round(options.scale * (3 + 9 * (i * 0.618034 % 1) ** 2), 2) for i in range(options.trials)]
    hook = 'hook = "sleep.py:Sleep:seconds={seconds}"\nepochs = 1'
    epochs = [4 + 4 * (i * 7 % 16) for i in range(min(16, options.trials))]
    computing = f"epochs = {epochs}\nseed = {list(range(max(1, options.trials // len(epochs))))}"
    rows = [
        {"trials": "sleep, in any order", **measure(options.ranks, "", hook, f"seconds = {sleeps}")},
        {"trials": "sleep, longest first", **measure(options.ranks, 'cost = "seconds"', hook, f"seconds = {sleeps}")},
        {"trials": "compute, longest first", **measure(options.ranks, "", "", computing)},
    ]
    for row in rows:
        print(
            f"{row['trials']:<24} {row['count']:>3} trials  {row['seconds']:6.1f} s  best {row['best']:6.1f} s  "
            f"ratio {row['ratio']:.3f}  the whole command {row['command']:6.1f} s"
        )
    for what in ("idle", "busy"):
        median, most = turns(options.ranks, what)
        rows.append({"turn": what, "median_ms": median, "most_ms": most})
        print(f"a turn in the log while rank 0 is {what}: median {median:.2f} ms, at most {most:.1f} ms")
    print(f"load of the machine before and after: {load:.2f}, {os.getloadavg()[0]:.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def measure(ranks: int, cost: str, train: str, parameters: str) -> dict[str, Any]:
    """Return the times of one sweep."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sleep.py").write_text(HOOK)
        Path(folder, "s.toml").write_text(SWEEP.format(cost=cost, train=train, parameters=parameters))
        begin = time.perf_counter()
        run(ranks, ["-m", "mpitrain", "sweep", "s.toml", "--out", "out"], folder)
        command = time.perf_counter() - begin
        lines = [json.loads(line) for line in Path(folder, "out", "journal.jsonl").read_text().splitlines()[1:]]
    starts = [line["time"] for line in lines if line["event"] == "start"]
    ends = [line for line in lines if line["event"] == "end"]
    assert all(line["status"] == "finished" for line in ends), ends
    each = [line["seconds"] for line in ends]
    seconds, best = max(line["time"] for line in ends) - min(starts), max(sum(each) / ranks, max(each))
    return {"count": len(each), "seconds": seconds, "best": best, "ratio": seconds / best, "command": command}


def turns(ranks: int, what: str) -> tuple[float, float]:
    """Return the median and the largest time of a turn in milliseconds."""
    median, most = run(ranks, ["-c", TURNS, what], ".").split()
    return float(median), float(most)


def run(ranks: int, arguments: list[str], folder: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = ["mpirun", "-n", str(ranks), sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
