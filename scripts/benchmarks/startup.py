"""Start-up: from mpirun to the end of the first training step on all ranks, against torchrun with the same network.

Each rank writes down when its first step is done; the last one counts, from the time at which the launcher was started.
Both train the smallest network (64 inputs, 10 outputs, on the digits that come with mpitrain), one BLAS thread a rank,
with data that are read from a file, gloo under torchrun. Runs alternate; medians are compared.

    scripts/bench startup [--ranks N] [--repeat N] [--no-peer] [--modules]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SLOWEST = 15  # modules that --modules shows
PATIENCE = 600.0  # seconds for one run


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench startup", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, default=8, metavar="N", help="ranks (8)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each that are timed (5)")
    parser.add_argument("--no-peer", action="store_true", help="leave out torchrun")
    parser.add_argument(
        "--modules", action="store_true", help="show the modules whose import takes longest, and no more"
    )
    options = parser.parse_args()
    if options.modules:
        return show_modules()
    commands = {"mpitrain": ours(options.ranks)} | ({} if options.no_peer else {"torchrun": theirs(options.ranks)})
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(options.repeat + 1):  # the first run of each reads files that are not in memory yet
        for name, command in commands.items():
            took = measure(command, options.ranks)
            if number:
                seconds[name].append(took)
    return show(seconds, options.ranks)


def ours(ranks: int) -> Callable[[Path], list[str]]:
    """Return the command of mpitrain, by the folder where each rank writes its time."""
    return lambda folder: [
        *("mpirun", "-n", str(ranks), sys.executable, "-m", "mpitrain", "train", "--data", "digits", "--steps", "1"),
        *("--model", "mlp:widths=16", "--hook", f"{HERE / 'startup_hook.py'}:Written", "--progress", "none"),
        *("--threads", "1", "--out", str(folder / "run")),
    ]


def theirs(ranks: int) -> Callable[[Path], list[str]]:
    """Return the command of PyTorch, which is torchrun's module."""
    arguments = ["--nnodes", "1", "--nproc-per-node", str(ranks), str(HERE / "startup_peer.py")]
    return lambda folder: [sys.executable, "-m", "torch.distributed.run", *arguments]


def measure(command: Callable[[Path], list[str]], ranks: int) -> float:
    """Return the seconds from the start of a command to the end of the last rank's first step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | ENVIRONMENT | {"STARTUP_FOLDER": name}
        begin = time.time()
        subprocess.run(
            command(folder), env=environment, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=PATIENCE
        )
        times = [float(path.read_text()) for path in folder.glob("rank-*")]
    if len(times) != ranks:
        raise SystemExit(f"{len(times)} of {ranks} ranks have written when their first step was done")
    return max(times) - begin


def show(seconds: dict[str, list[float]], ranks: int) -> int:
    """Print medians and their ratio."""
    for name, took in seconds.items():
        middle = statistics.median(took)
        print(f"{name}: {middle:.2f} s to the first step of {ranks} ranks ({min(took):.2f} to {max(took):.2f})")
    if "torchrun" in seconds:
        ratio = statistics.median(seconds["mpitrain"]) / statistics.median(seconds["torchrun"])
        print(f"mpitrain / torchrun: {ratio:.3f}")
    return 0


def show_modules() -> int:
    """Print the number of modules that one rank imports before its first step ends, and those that take longest."""
    with tempfile.TemporaryDirectory() as name:
        command = ours(1)(Path(name))[3:]
        environment = os.environ | ENVIRONMENT | {"STARTUP_FOLDER": name}
        line = [command[0], "-X", "importtime", *command[1:]]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True, cwd=name)
    rows = [row.removeprefix("import time:").split("|") for row in done.stderr.splitlines() if row.count("|") == 2]
    found = [(int(own), module.strip()) for own, _, module in rows[1:]]
    print(f"{len(found)} modules, {sum(own for own, _ in found) / 1e3:.0f} ms (measured, which takes time itself)")
    for own, module in sorted(found, reverse=True)[:SLOWEST]:
        print(f"{own / 1e3:7.1f} ms  {module}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
