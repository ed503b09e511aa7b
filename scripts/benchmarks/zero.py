"""Training steps and memory with ZeRO stages 0 to 3, beside PyTorch's FSDP2 over gloo.

A chain of eight linear layers of equal widths, with Adam. Steps of all contenders run in turn in one job; medians of
the slowest rank's time are compared. Memory is that of a rank beyond Python with its libraries, in a job of its own:
the most at any time, with Python's own copies at the start, and the most between two steps.

    scripts/bench zero [--ranks 2] [--widths 1250] [--batch 256] [--repeat N] [--no-peer] [--no-memory] [--json FILE]
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

WORKER = Path(__file__).with_name("zero_worker.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
BASE = "stage 1"
OURS = ("stage 0", BASE, "stage 1, shared", "stage 2", "stage 3, once", "stage 3, twice")
PEERS = ("FSDP2, once", "FSDP2, twice")
MEGABYTE = 2**20


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench zero", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2], metavar="P", help="numbers of ranks (2)")
    parser.add_argument("--widths", type=int, nargs="+", default=[1250], metavar="N", help="1250 is 11 million weights")
    parser.add_argument("--batch", type=int, default=256, metavar="N", help="samples of a rank (256)")
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="steps of each that are timed (20)")
    parser.add_argument("--no-peer", action="store_true", help="without PyTorch")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    contenders = [*OURS, *(() if options.no_peer else PEERS)]
    rows = []
    for ranks in options.ranks:
        for width in options.widths:
            setting = [str(width), str(options.batch)]
            row = run("time", ranks, [*setting, str(options.repeat)], contenders)
            row |= {"parameters": 7 * width * (width + 1) + 10 * (width + 1), "memory": {}}
            for name in () if options.no_memory else contenders:
                row["memory"][name] = run("memory", ranks, [*setting, "4"], [name])
            rows.append(row)
            show(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def run(what: str, ranks: int, numbers: list[str], contenders: list[str]) -> dict:
    """Run one job and return its row."""
    print(f"{what} of {', '.join(contenders)} on {ranks} ranks ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "row.json")
        command = ["mpirun", "-n", str(ranks), sys.executable, str(WORKER), what, *numbers, folder, str(file)]
        subprocess.run([*command, *contenders], check=True, env=os.environ | ENVIRONMENT)
        return json.loads(file.read_text())


def show(row: dict) -> None:
    title = f"{row['parameters']:,} parameters on {row['ranks']} ranks, {row['mpi']}: ratios to {BASE}"
    heads = ("ms a step", "ratio", "MB at most", "MB between steps")
    lines = []
    for name, ms in row["ms"].items():
        memory = row["memory"].get(name, {})
        sizes = (f"{memory[key] / MEGABYTE:,.0f}" if key in memory else "" for key in ("highest", "after"))
        lines.append((name, f"{ms:.1f}", f"{ms / row['ms'][BASE]:.2f}", *sizes))
    print_table(make_console(), [Column("", "name"), *map(Column, heads)], lines, title=title)


if __name__ == "__main__":
    sys.exit(main())
