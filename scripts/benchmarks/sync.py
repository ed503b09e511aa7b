"""Time between backward and the next forward: sums of gradients over the ranks, and the update.

Contenders, on ranks of this machine: MPI_Allreduce and then the update of all weights on every rank (the usual way);
the all-reduce in shared memory and then the same update; the sharded update of one copy of the weights. They run in
turn, over and over; medians of the slowest rank's time are compared. Ratios are to the usual way: below 1 is faster.

    scripts/bench sync [--ranks 2 4] [--optimizer sgd] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mpitrain.cli.terminal import make_console
from mpitrain.training.display.text_table import Column, print_table

SIZES = (100_000, 1_000_000, 11_000_000)
WORKER = Path(__file__).with_name("sync_worker.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench sync", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4], metavar="P", help="numbers of ranks (2 4)")
    parser.add_argument(
        "--parameters", type=int, nargs="+", default=list(SIZES), metavar="N", help="0.1, 1 and 11 million"
    )
    parser.add_argument("--optimizer", choices=["sgd", "adamw"], default="sgd", help="sgd (with momentum) or adamw")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for ranks in options.ranks:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "rows.json")
            command = ["mpirun", "-n", str(ranks), sys.executable, str(WORKER), options.optimizer, str(file)]
            command += map(str, options.parameters)
            subprocess.run(command, check=True, env=os.environ | ENVIRONMENT)
            rows += json.loads(file.read_text())
    show(rows, options.optimizer)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def show(rows: list[dict[str, object]], optimizer: str) -> None:
    title = f"Sum and update ({optimizer}), {rows[0]['mpi']}: ratios to MPI_Allreduce and a whole update"
    names = list(rows[0]["us"])
    columns = [Column(head) for head in ("parameters", "ranks", f"{names[0]}, us", *names[1:])]
    lines = []
    for row in rows:
        us = row["us"]
        ratios = (f"{us[name] / us[names[0]]:.2f}" for name in names[1:])
        lines.append((f"{row['parameters']:,}", str(row["ranks"]), f"{us[names[0]]:,.0f}", *ratios))
    print_table(make_console(), columns, lines, title=title)


if __name__ == "__main__":
    sys.exit(main())
