"""Compare a training step (forward, backward, gradient sum, SGD with momentum) with PyTorch's on the CPU.

Each case runs in a job of its own; blocks of our steps and of PyTorch's alternate in it, and the medians are compared.
Lone layers are forward and backward, without an optimizer. The ratio is ours / PyTorch's: below 1 we are faster.

    scripts/bench step [--only TEXT] [--repeat N] [--memory] [--compress CODEC] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CASES, Case

from mpitrain.cli.terminal import make_console
from mpitrain.training.display.text_table import Column, print_table

WORKER = Path(__file__).with_name("step_worker.py")
MEMORY_WORKER = Path(__file__).with_name("step_memory.py")
# one thread from the start: a pool that is made later with one would leave the others spinning
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def main() -> int:
    options = parse(sys.argv[1:])
    chosen = [case for case in CASES if options.only in case.title and (case.ranks > 1 or not options.compress)]
    if not chosen:
        titles = "; ".join(case.title for case in CASES)
        print(f"no case has '{options.only}' in its name; there are: {titles}", file=sys.stderr)
        return 2
    rows = []
    for case in chosen:
        print(f"{case.title} ...", file=sys.stderr)
        row = measure(case, options.repeat, options.compress)
        rows.append(row | (memory(case) if options.memory and case.ranks == 1 else {}))
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench step", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help='cases with this in their name: lenet, "1 rank"')
    parser.add_argument("--repeat", type=int, default=60, metavar="N", help="steps of each that are timed (60)")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of a process of each (1 rank)")
    codecs = {"choices": ("fp16", "powersgd"), "default": ""}
    parser.add_argument("--compress", **codecs, help="compressed gradients beside DDP's hook, on several ranks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    return parser.parse_args(arguments)


def measure(case: Case, repeat: int, compress: str) -> dict[str, object]:
    """Run a case under mpirun and return its row."""
    with tempfile.TemporaryDirectory() as folder:
        row = Path(folder, "row.json")
        command = ["mpirun", "-n", str(case.ranks), sys.executable, str(WORKER)]
        command += [str(CASES.index(case)), str(repeat), folder, str(row), compress]
        environment = os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": str(case.threads)}
        subprocess.run(command, check=True, env=environment)
        return json.loads(row.read_text())


def memory(case: Case) -> dict[str, object]:
    """Return the peak memory, in megabytes, of a process that makes our steps and of one that makes PyTorch's."""
    found = {}
    for side in ("ours", "peer"):
        command = [sys.executable, str(MEMORY_WORKER), str(CASES.index(case)), side]
        environment = os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": str(case.threads)}
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        found[f"{side}_mb"] = round(float(done.stdout))
    return found


def show(rows: list[dict[str, object]]) -> None:
    peer = str(rows[0]["peer"]).split(",")[0]
    heads = ("ranks", "threads", "ours ms", "PyTorch ms", "ratio", "share of peak", "MB: ours", "PyTorch")
    columns = [Column("step", "name"), *(Column(head) for head in heads), Column("PyTorch's best setting", "text")]
    lines = []
    for row in rows:
        times = (f"{row[key]:.2f}" for key in ("ours_ms", "peer_ms", "ratio"))
        share = f"{row['share_of_peak']:.2f}" if "share_of_peak" in row else ""
        setting = str(row["peer"]).partition(", ")[2]
        megabytes = (str(row.get(key, "")) for key in ("ours_mb", "peer_mb"))
        lines.append((str(row["name"]), str(row["ranks"]), str(row["threads"]), *times, share, *megabytes, setting))
    print_table(make_console(), columns, lines, title=f"Training step: ours / {peer}'s (below 1 we are faster)")


if __name__ == "__main__":
    sys.exit(main())
