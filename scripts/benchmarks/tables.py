"""Reading a csv file of numbers, against pandas and against the reader that mpitrain had before.

Each way reads the same file in a process of its own, in turn. The time is that from the path to the arrays (for pandas,
to the frame), without imports; the memory is the growth of the process's peak over what it held before.

    scripts/bench tables [--megabytes 100] [--columns 20] [--repeats 5] [--ways core,fast,pandas,previous] [--json FILE]
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WAYS = {
    "core": "mpitrain, csv module",
    "fast": "mpitrain, pyarrow",
    "pandas": "pandas.read_csv",
    "previous": "mpitrain before: all cells as strings, then float",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench tables", description=__doc__.split("\n\n")[0])
    parser.add_argument("--megabytes", type=int, default=100, help="size of the file (100)")
    parser.add_argument("--columns", type=int, default=20, help="columns of numbers, one of them the target (20)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", default=",".join(WAYS), help="which to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--folder", type=Path, help="for the file, which is deleted afterwards")
    parser.add_argument("--worker", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker[0], Path(options.worker[1]))))
        return 0
    ways = options.ways.split(",")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "numbers.csv")
        num_rows = write(path, options.megabytes * 10**6, options.columns)
        size, array = path.stat().st_size, 8 * num_rows * options.columns
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for turn in range(options.repeats):
            for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                runs[way].append(run(way, path))
    rows = [summary(way, runs[way], size, array) for way in ways]
    show(
        rows, f"{size / 1e6:,.0f} MB, {num_rows:,} rows of {options.columns} numbers ({array / 1e6:,.0f} MB as float64)"
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def write(path: Path, size: int, columns: int) -> int:
    """Write about ``size`` bytes of normal numbers with all digits; return the number of rows."""
    rng = np.random.default_rng(0)
    num_rows = 0
    with path.open("w") as file:
        file.write(",".join([*(f"x{k}" for k in range(columns - 1)), "y"]) + "\n")
        while file.tell() < size:
            rows = rng.normal(size=(10_000, columns)).tolist()
            file.write("".join(",".join(map(repr, row)) + "\n" for row in rows))
            num_rows += len(rows)
    return num_rows


def run(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", way, str(path)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def measure(way: str, path: Path) -> dict[str, float]:
    read = globals()[f"prepare_{way}"]()
    with path.open("rb") as file:
        while file.read(1 << 20):  # into the page cache
            pass
    before = current_memory()
    begin, cpu = time.perf_counter(), time.process_time()
    kept = read(path)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    assert kept is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu_seconds": cpu, "bytes": peak - before}


def current_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def prepare_core() -> Callable[[Path], object]:
    return ours("csv")


def prepare_fast() -> Callable[[Path], object]:
    import pyarrow.csv

    assert pyarrow.csv
    return ours("arrow")


def ours(reader: str) -> Callable[[Path], object]:
    from mpitrain.data.tables import CsvOptions, open_table

    def read(path: Path) -> object:
        table = open_table(path, CsvOptions(target="y"), reader=reader)
        return table.numbers(table.features), table.numbers(table.targets)

    return read


def prepare_pandas() -> Callable[[Path], object]:
    import pandas

    return lambda path: pandas.read_csv(path)


def prepare_previous() -> Callable[[Path], object]:
    def read(path: Path) -> object:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader)
            rows, lines = [], []
            for row in reader:
                if not row or len(row) != len(header):
                    raise ValueError(reader.line_num)
                rows.append(row)
                lines.append(reader.line_num)
        columns = {name: [cell.strip() for cell in cells] for name, cells in zip(header, zip(*rows))}
        x = np.empty((len(lines), len(columns) - 1))
        for name in columns:
            any(cell.lower() in ("", "na", "nan", "?") for cell in columns[name])
        for k, name in enumerate(header[:-1]):
            x[:, k] = list(map(float, columns[name]))
        y = np.array(list(map(float, columns["y"])))
        return columns, x, y, np.isfinite(x).all()

    return read


def summary(way: str, runs: list[dict[str, float]], size: int, array: int) -> dict[str, object]:
    seconds = statistics.median(run["seconds"] for run in runs)
    memory = statistics.median(run["bytes"] for run in runs)
    cpu = statistics.median(run["cpu_seconds"] for run in runs)
    return {
        "way": way,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "mb_per_s": size / seconds / 1e6,
        "memory_per_array": memory / array,
    }


def show(rows: list[dict[str, object]], title: str) -> None:
    seconds = {row["way"]: row["seconds"] for row in rows}
    heads = ("seconds", "CPU s", "MB/s", "time to pandas", "speed to previous", "memory to array")
    print(title)
    print(" " * 50 + "".join(f"  {head}" for head in heads))
    for row in rows:
        cells = [
            f"{row['seconds']:.2f}",
            f"{row['cpu_seconds']:.2f}",
            f"{row['mb_per_s']:.0f}",
            f"{row['seconds'] / seconds['pandas']:.2f}" if "pandas" in seconds else "",
            f"{seconds['previous'] / row['seconds']:.2f}" if "previous" in seconds else "",
            f"{row['memory_per_array']:.2f}",
        ]
        print(f"{WAYS[row['way']]:<50}" + "".join(f"  {cell:>{len(head)}}" for cell, head in zip(cells, heads)))


if __name__ == "__main__":
    sys.exit(main())
