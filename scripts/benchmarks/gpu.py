"""Measure a GPU: products against cuBLAS, layers and training steps against PyTorch; write the pages of results.

    scripts/bench gpu [--minutes M] [--repeat N] [--parts PART ...] [--docs DIR]

Parts, in this order: table (the planner's), training (products of training), layers (as training calls them), memory
(layers that only move it), steps, codecs (of gradients, beside a copy), squares, ladder. Each is a process of its own
that writes its rows as they come, the smallest first: what hangs or fails costs its own part. With --minutes each part
has its share of the time that is left.
docs/benchmarks/gpu.md, the ladder's table in docs/kernel-ladder.md and the rows in docs/benchmarks/gpu.json are written
after each part. Exit code 2 where there is no GPU, 1 where a product was wrong or a part failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gpu_report

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
NO_GPU = 2
GRACE_SECONDS = 20  # for the measurement that is going on when the time of a part is over
SCRIPTS = {
    "layers": "gpu_layers.py",
    "memory": "gpu_memory.py",
    "steps": "gpu_step.py",
    "codecs": "gpu_codecs.py",
}  # others: kernel bench
SHARES = {"table": 4, "training": 3, "layers": 4, "memory": 1, "steps": 3, "codecs": 1, "squares": 1, "ladder": 2}


def main() -> int:
    options = parse(sys.argv[1:])
    begin, found, code = time.monotonic(), {}, 0
    parts = [part for part in SHARES if part in options.parts]
    with tempfile.TemporaryDirectory() as folder:
        for index, part in enumerate(parts):
            left = None if options.minutes is None else 60 * options.minutes - (time.monotonic() - begin)
            share = None if left is None else left * SHARES[part] / sum(SHARES[other] for other in parts[index:])
            rows = Path(folder, f"{part}.json")
            print(f"\n== {part} ({time.monotonic() - begin:.0f} s)", flush=True)
            failed = run(command(part, options, share, rows), share)
            code = code or failed
            if failed == NO_GPU:
                return NO_GPU
            if rows.exists():
                made = json.loads(rows.read_text())
                found |= {part: made} if part in SCRIPTS else made
            if "gpu" in found:
                write(options.docs, found)
    return code


def command(part: str, options: argparse.Namespace, seconds: float | None, rows: Path) -> list[str]:
    """Return the command of a part."""
    if part in SCRIPTS:
        stand_in = ["--stand-in"] if options.stand_in else []
        return [
            sys.executable,
            str(HERE / SCRIPTS[part]),
            str(options.repeat),
            str(seconds or "inf"),
            str(rows),
            *stand_in,
        ]
    program = [str(HERE / "gpu_stand_in.py")] if options.stand_in else ["-m", "mpitrain", "kernel", "bench"]
    limit = [] if seconds is None else ["--seconds", str(seconds)]
    made = ["--parts", part, "--json", str(rows), "--repeat", str(options.repeat), *limit]
    return [sys.executable, *program, *made]


def run(what: list[str], seconds: float | None) -> int:
    """Return the exit code, 1 if it had to be ended."""
    try:
        return subprocess.run(
            what, env=os.environ, timeout=None if seconds is None else seconds + GRACE_SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"ended {GRACE_SECONDS} s after its time: it hangs, or one measurement takes longer", flush=True)
        return 1


def write(docs: Path, found: dict) -> None:
    """Write the pages of what is there."""
    page = docs / "benchmarks" / "gpu.md"
    page.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    page.write_text(gpu_report.page(found))
    gpu_report.put_ladder(docs / "kernel-ladder.md", found)
    print(f"written: {page}, {page.with_suffix('.json')}, {docs / 'kernel-ladder.md'}", flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, metavar="M", help="all the time there is (no limit)")
    parser.add_argument("--repeat", type=int, default=30, metavar="N", help="runs of each contender (30)")
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES), metavar="PART", help="some of them")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR", help="folder of the pages (docs)")
    parser.add_argument("--stand-in", action="store_true", help="a dry run: small shapes, kernels built for the CPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
