"""Measure a GPU: products against cuBLAS, the ladder, training steps against PyTorch; write the pages of results.

    scripts/bench gpu [--repeat N] [--skip-steps] [--docs DIR]

docs/benchmarks/gpu.md, the ladder's table in docs/kernels.md, and the rows in docs/benchmarks/gpu.json are written.
Exit code 2 where there is no GPU, 1 where one of our products was wrong.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gpu_report

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"


def main() -> int:
    options = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        rows, steps = Path(folder, "rows.json"), Path(folder, "steps.json")
        command = [sys.executable, "-m", "mpitrain", "kernel", "bench", "--json", str(rows)]
        code = subprocess.run([*command, "--repeat", str(options.repeat)]).returncode
        if not rows.exists():
            return code or 1
        found = json.loads(rows.read_text())
        if not options.skip_steps:
            done = subprocess.run([sys.executable, str(HERE / "gpu_step.py"), str(options.repeat), str(steps)])
            found["steps"] = json.loads(steps.read_text()) if done.returncode == 0 else []
            code = code or done.returncode
    page = options.docs / "benchmarks" / "gpu.md"
    page.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    page.write_text(gpu_report.page(found))
    gpu_report.put_ladder(options.docs / "kernels.md", found)
    print(f"\nwritten: {page}, {page.with_suffix('.json')}, {options.docs / 'kernels.md'}")
    return code


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeat", type=int, default=30, metavar="N", help="runs of each contender (30)")
    parser.add_argument("--skip-steps", action="store_true", help="products only: PyTorch is not needed")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR", help="folder of the pages (docs)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
