"""Compare all-reduces with the MPI library's own and with gloo (torch.distributed), on this machine's ranks.

For each number of ranks a job measures `auto`, `shared` and the algorithms named, interleaved with MPI_Allreduce and
gloo; medians of the slowest rank's times. Ratios are native / ours and gloo / ours: above 1 we are faster. Tune first
(mpirun -n P python -m mpitrain collective tune), or `auto` goes by a rule of thumb.

    scripts/bench collective [--ranks 2 4 8] [--algorithms ring tree] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

WORKER = Path(__file__).with_name("collective_worker.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench collective", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8], metavar="P", help="numbers of ranks (2 4 8)")
    parser.add_argument("--algorithms", nargs="*", default=[], metavar="ALG", help="beside auto and shared")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for ranks in options.ranks:
        with tempfile.TemporaryDirectory() as folder:
            command = ["mpirun", "-n", str(ranks), sys.executable, str(WORKER), folder, *options.algorithms]
            subprocess.run(command, check=True, env=os.environ | ENVIRONMENT)
            new = json.loads(Path(folder, "rows.json").read_text())
        show(new)
        rows += new
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def show(rows: list[dict[str, object]]) -> None:
    table = Table(title=f"All-reduce on {rows[0]['ranks']} ranks, {rows[0]['mpi']} (above 1 we are faster)")
    for column in ("bytes", "algorithm", "us", "native us", "native / ours", "gloo us", "gloo / ours"):
        table.add_column(column, justify="left" if column == "algorithm" else "right")
    for row in rows:
        numbers = (f"{row['us']:,.1f}", f"{row['native_us']:,.1f}", f"{row['ratio']:.2f}")
        gloo = (f"{row['gloo_us']:,.1f}", f"{row['gloo_ratio']:.2f}")
        chosen = f" ({row['chosen']})" if row["algorithm"] == "auto" else ""
        table.add_row(f"{row['bytes']:,}", f"{row['algorithm']}{chosen}", *numbers, *gloo)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
