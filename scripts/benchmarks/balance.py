"""Unequal ranks: steps with --balance auto and dynamic, against equal shares and the ideal weighted split.

The work of a rank sleeps in proportion to its samples, and that of one rank is 2 or 4 times as slow: from the first
step, or from one in the middle of the run. Ranks that sleep need no cores of their own. The ideal is the split by the
true speeds from the first step on (--balance with weights); runs alternate in one job, and medians of the steps behind
the last change are compared.

    scripts/bench balance [--repeat N] [--small] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mpitrain.cli.terminal import make_console
from mpitrain.training.display.text_table import Column, print_table

HERE = Path(__file__).parent
RANKS, SLOWNESS = (2, 3, 4), (2, 4)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench balance", description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of each that are timed (3)")
    parser.add_argument("--small", action="store_true", help="a dry run: two ranks, short sleeps, few steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for ranks in RANKS[: 1 if options.small else None]:
        rows += run(ranks, 1 if options.small else options.repeat, options.small)
    show(rows)
    print(f"load of the machine before and after: {load:.2f}, {os.getloadavg()[0]:.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def run(ranks: int, repeat: int, small: bool) -> list[dict[str, Any]]:
    """Return the rows of the worker's cases on so many ranks."""
    print(f"{ranks} ranks ...", file=sys.stderr)
    slowness = ",".join(map(str, SLOWNESS[: 1 if small else None]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        arguments = [slowness, str(repeat), str(int(small)), str(file)]
        command = ["mpirun", "-n", str(ranks), sys.executable, str(HERE / "balance_worker.py"), *arguments]
        subprocess.run(command, check=True, env=os.environ | ENVIRONMENT)
        rows: list[dict[str, Any]] = json.loads(file.read_text())
        return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the times of a step: of the sleep alone in the ideal split, and of runs."""
    heads = ("ranks", "one is slow", "sleep ms", "ideal ms", "off ms", "auto ms", "dynamic ms", "auto / ideal")
    columns = [*map(Column, (*heads, "auto / off", "dynamic / ideal")), Column("found after", "text")]
    lines = []
    for row in rows:
        auto, dynamic, ideal, off = (row[f"{what}_ms"] for what in ("auto", "dynamic", "ideal", "off"))
        when = "" if row["from_step"] == 0 else f" from step {row['from_step']}"
        found = "never" if row["found_after"] is None else f"{row['found_after']} steps"
        times = (f"{row['sleep_ms']:.1f}", *(f"{ms:.1f}" for ms in (ideal, off, auto, dynamic)))
        ratios = (f"{auto / ideal:.2f}", f"{auto / off:.2f}", f"{dynamic / ideal:.2f}")
        lines.append((str(row["ranks"]), f"{row['slowness']} times{when}", *times, *ratios, found))
    print_table(make_console(), columns, lines, title="Steps of ranks that sleep in proportion to their samples")


if __name__ == "__main__":
    sys.exit(main())
