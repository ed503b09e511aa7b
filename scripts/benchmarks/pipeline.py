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
    cases = SMALL if options.small else CASES
    small, peer = str(int(options.small)), str(int(options.peer))
    found: dict[str, Any] = {name: [] for name in ("overhead", "sleep", "steps", "messages", "cuts")}
    found["load"] = [os.getloadavg()[0]]
    if options.only in ("", "overhead"):
        for ranks in (1, 2):
            found["overhead"] += run("overhead", ranks, small)
    if options.only in ("", "sleep"):
        found["sleep"] = run("sleep", 4, small)
    for name in cases:
        if options.only in ("", name):
            work = run("work", 2, name, small, str(options.repeat), peer)
            found["steps"] += work["steps"]
            found["messages"] += work["messages"]
            found["cuts"].append(f"{name}, {work['cut']}")
    found["load"].append(os.getloadavg()[0])
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench pipeline", description=__doc__.split("\n\n")[0])
    parts = ["overhead", "sleep", *dict.fromkeys([*CASES, *SMALL])]
    parser.add_argument("--only", default="", choices=parts, metavar="PART", help=", ".join(parts))
    parser.add_argument("--repeat", type=int, default=8, metavar="N", help="steps of each that are timed (8)")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="without PyTorch")
    parser.add_argument("--small", action="store_true", help="a dry run: tiny networks, short sleeps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    return parser.parse_args(arguments)


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
