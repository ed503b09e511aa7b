"""Pipelines: what a task costs beside its layers, measured beside predicted steps, and steps beside PyTorch's.

Four parts: tasks without work; schedules of work that sleeps, on 4 ranks; steps of two networks on 2 ranks, beside
predictions from the times of the cut, PyTorch's pipelining (gloo, the same cut and microbatches) and our data
parallelism; and the weight of messages in them. Contenders alternate in one job, and medians of the slowest rank's time
are compared. The ratio is ours / PyTorch's: below 1 we are faster.

    scripts/bench pipeline [--only PART] [--repeat N] [--no-peer] [--small] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline_cases import CASES, SMALL
from pipeline_report import show

HERE = Path(__file__).parent
# one thread from the start, and none of OpenBLAS beside it
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def main() -> int:
    options = parse(sys.argv[1:])
    names = ["overhead", "sleep", *(SMALL if options.small else CASES)]
    found: dict[str, Any] = {}
    for name in [options.only] if options.only else names:
        found[name] = measure(name, options)
        show(name, found[name])
        if options.json:  # after each part, so that those before an interruption are there
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the rows of a part, and the load of the machine before and after."""
    small, load = str(int(options.small)), os.getloadavg()[0]
    if name == "overhead":
        found = {"rows": [*run(name, 1, small), *run(name, 2, small)]}
    elif name == "sleep":
        found = {"rows": run(name, 4, small)}
    else:
        found = run("work", 2, name, small, str(options.repeat), str(int(options.peer)))
    return {**found, "load": [load, os.getloadavg()[0]]}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench pipeline", description=__doc__.split("\n\n")[0])
    parts = ["overhead", "sleep", *dict.fromkeys([*CASES, *SMALL])]
    parser.add_argument("--only", choices=parts, metavar="PART", help=", ".join(parts))
    parser.add_argument("--repeat", type=int, default=8, metavar="N", help="steps of each that are timed (8)")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="without PyTorch")
    parser.add_argument("--small", action="store_true", help="a dry run: tiny networks, short sleeps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args(arguments)
    if options.only and options.only not in ("overhead", "sleep", *(SMALL if options.small else CASES)):
        parser.error(f"there is no {options.only} {'with' if options.small else 'without'} --small")
    return options


def run(part: str, ranks: int, *arguments: str) -> Any:
    """Run a part under mpirun and return what rank 0 has written."""
    print(f"{part} on {ranks} {'rank' if ranks == 1 else 'ranks'}: {' '.join(arguments)} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        command = ["mpirun", "-n", str(ranks), sys.executable, str(HERE / f"pipeline_{part}.py"), *arguments]
        subprocess.run([*command, str(file)], check=True, env=os.environ | ENVIRONMENT)
        return json.loads(file.read_text())


if __name__ == "__main__":
    sys.exit(main())
