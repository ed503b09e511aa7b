"""Cost of a round of a schedule from Python, against the same round in C with persistent requests.

Pairs of ranks exchange a short message and add what came, 200 times; a plan, a plan that is polled, Sendrecv from
Python, and C, interleaved in one process with one MPI library; medians of the slowest rank's time.

    scripts/bench round [--ranks 2] [--json FILE]
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

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench round", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, default=2, metavar="P", help="an even number, no more than cores (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    if options.ranks < 2 or options.ranks % 2:
        parser.error("--ranks must be even: ranks meet in pairs")
    with tempfile.TemporaryDirectory() as folder:
        library, result = Path(folder, "round.so"), Path(folder, "rows.json")
        subprocess.run(["mpicc", "-O3", "-shared", "-fPIC", "-o", library, HERE / "round.c"], check=True)
        worker = [sys.executable, str(HERE / "round_worker.py"), str(library), str(result)]
        subprocess.run(["mpirun", "-n", str(options.ranks), *worker], check=True, env=os.environ)
        rows = json.loads(result.read_text())
    show(rows, options.ranks)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def show(rows: list[dict], ranks: int) -> None:
    columns = [Column("bytes"), Column("by", "word"), Column("us"), Column("times C")]
    lines = [(f"{row['bytes']:,}", row["by"], f"{row['us']:.2f}", f"{row['times_c']:.2f}") for row in rows]
    print_table(make_console(), columns, lines, title=f"One round on {ranks} ranks: exchange, and add what came")


if __name__ == "__main__":
    sys.exit(main())
