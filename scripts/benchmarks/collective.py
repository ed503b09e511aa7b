"""Compare all-reduces with the MPI library's own and with gloo (torch.distributed), on this machine's ranks.

For each number of ranks a job measures `auto`, `shared` and the algorithms named, interleaved with MPI_Allreduce, and
another job measures them interleaved with gloo; medians of the slowest rank's times. Ratios are native / ours and
gloo / ours: above 1 we are faster. `shared` reads and writes n bytes on each rank; its share is the time of a copy that
does no more than that, on all ranks at once, over its own. Tune first (mpirun -n P python -m mpitrain collective tune),
or `auto` goes by a rule of thumb.

    scripts/bench collective [--ranks 2 4 8] [--algorithms ring tree] [--json FILE]
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

WORKER = Path(__file__).with_name("collective_worker.py")
PEERS = ("native", "gloo")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench collective", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8], metavar="P", help="numbers of ranks (2 4 8)")
    parser.add_argument("--algorithms", nargs="*", default=[], metavar="ALG", help="in addition to auto and shared")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for ranks in options.ranks:
        new = measure(ranks, options.algorithms)
        show(new)
        rows += new
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def measure(ranks: int, algorithms: list[str]) -> list[dict[str, Any]]:
    """Return the rows of both jobs, joined."""
    with tempfile.TemporaryDirectory() as folder:
        for peer in PEERS:
            command = ["mpirun", "-n", str(ranks), sys.executable, str(WORKER), folder, peer, *algorithms]
            subprocess.run(command, check=True, env=os.environ | ENVIRONMENT)
        rows, beside_gloo = (json.loads(Path(folder, f"{peer}.json").read_text()) for peer in PEERS)
    for row, other in zip(rows, beside_gloo, strict=True):
        row |= {"ratio": row["native_us"] / row["us"], "share": row["copy_us"] / row["us"]}
        row |= {"gloo_us": other["gloo_us"], "gloo_ratio": other["gloo_us"] / other["us"]}
        if row["chosen"] != "shared":
            del row["share"]
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    heads = ("us", "native us", "native / ours", "copy us", "share", "gloo us", "gloo / ours")
    columns = [Column("bytes"), Column("algorithm", "name"), *(Column(head) for head in heads)]
    lines = []
    for row in rows:
        numbers = (f"{row['us']:,.1f}", f"{row['native_us']:,.1f}", f"{row['ratio']:.2f}")
        copy = (f"{row['copy_us']:,.1f}", f"{row['share']:.2f}" if "share" in row else "")
        gloo = (f"{row['gloo_us']:,.1f}", f"{row['gloo_ratio']:.2f}")
        chosen = f" ({row['chosen']})" if row["algorithm"] == "auto" else ""
        lines.append((f"{row['bytes']:,}", f"{row['algorithm']}{chosen}", *numbers, *copy, *gloo))
    title = f"All-reduce on {rows[0]['ranks']} ranks, {rows[0]['mpi']} (above 1 we are faster)"
    print_table(make_console(), columns, lines, title=title)


if __name__ == "__main__":
    sys.exit(main())
