"""Memory of trainings on data larger than it: csv, Parquet, npy and HDF5 files of two sizes.

The same numbers and categories (arrays without these) in each form; one epoch of a small network. The memory of a rank
is what is its own (RssAnon), looked at every 20 ms: pages of mapped files are the system's, which takes them back.

    scripts/bench large_data [--folder DIR] [--megabytes 500,1000] [--kinds csv,parquet,npy,hdf5] [--ranks 2]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

COLUMNS = 20
BLOCK = 50_000  # rows written at once
TRAIN = "--model mlp:widths=16 --epochs 1 --batch-size 8192 --progress none"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench large_data", description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="for the files, which are deleted afterwards")
    parser.add_argument("--megabytes", default="500,1000", help="sizes of the numbers as float64 (500,1000)")
    parser.add_argument("--kinds", default="csv,parquet,npy,hdf5")
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    print(
        f"{'kind':<8}  {'numbers':>8}  {'on disk':>8}  {'first run':>9}  {'second':>7}  {'memory of a rank, both':>22}"
    )
    for kind in options.kinds.split(","):
        for size in map(int, options.megabytes.split(",")):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                show(kind, size, Path(folder), options.ranks)
    return 0


def show(kind: str, megabytes: int, folder: Path, ranks: int) -> None:
    """Print a line on two trainings, of which the first fills the cache."""
    rows = megabytes * 10**6 // (8 * COLUMNS)
    source = {"csv": write_csv, "parquet": write_parquet, "npy": write_npy, "hdf5": write_hdf5}[kind](folder, rows)
    on_disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    found = [train(source, folder, ranks) for _ in range(2)]
    seconds, memory = zip(*found)
    print(
        f"{kind:<8}  {megabytes:>5} MB  {on_disk:>5.0f} MB  {seconds[0]:>7.1f} s  {seconds[1]:>5.1f} s  "
        f"{memory[0] / 1e6:.0f}, {memory[1] / 1e6:.0f} MB",
        flush=True,
    )


def blocks(rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield numbers (n, COLUMNS - 2) and codes of categories (n, 2)."""
    for start in range(0, rows, BLOCK):
        rng = np.random.default_rng(start)
        count = min(BLOCK, rows - start)
        yield rng.standard_normal((count, COLUMNS - 2)), rng.integers(0, 50, (count, 2))


def tables(rows: int) -> Iterator[pa.Table]:
    """Yield parts of a table with numbers, some missing, and two columns of text."""
    for numbers, codes in blocks(rows):
        columns = {f"x{k}": pa.array(numbers[:, k], mask=numbers[:, k] > 3) for k in range(COLUMNS - 2)}
        texts = pa.array([f"category {k}" for k in range(50)])
        for k in range(2):
            columns[f"c{k}"] = texts.take(pa.array(codes[:, k]))
        columns["y"] = pa.array(np.where(numbers[:, 0] + codes[:, 0] / 25 > 1, "yes", "no"))
        yield pa.table(columns)


def write_csv(folder: Path, rows: int) -> str:
    """Write t.csv, and return the source."""
    with open(folder / "t.csv", "wb") as file:
        for number, table in enumerate(tables(rows)):
            csv.write_csv(table, file, csv.WriteOptions(include_header=number == 0))
    return f"csv:{folder}/t.csv,target=y"


def write_parquet(folder: Path, rows: int) -> str:
    """Write t.parquet, and return the source."""
    writer = None
    for table in tables(rows):
        writer = writer or parquet.ParquetWriter(folder / "t.parquet", table.schema)
        writer.write_table(table)
    writer.close()
    return f"parquet:{folder}/t.parquet,target=y"


def write_npy(folder: Path, rows: int) -> str:
    """Write x.npy and y.npy, and return the source."""
    (folder / "set").mkdir()
    x = np.lib.format.open_memmap(folder / "set" / "x.npy", "w+", np.float64, (rows, COLUMNS))
    fill(x, np.lib.format.open_memmap(folder / "set" / "y.npy", "w+", np.int64, (rows,)), rows)
    return f"npy:{folder}/set"


def write_hdf5(folder: Path, rows: int) -> str:
    """Write t.h5, whose samples are compressed, and return the source."""
    with h5py.File(folder / "t.h5", "w") as file:
        shape = rows, COLUMNS
        x = file.create_dataset("x", shape, np.float64, chunks=(4096, COLUMNS), compression="gzip", compression_opts=1)
        fill(x, file.create_dataset("y", (rows,), np.int64), rows)
    return f"hdf5:{folder}/t.h5"


def fill(x: object, y: object, rows: int) -> None:
    """Write all rows to x (N, COLUMNS) and y (N,)."""
    start = 0
    for numbers, codes in blocks(rows):
        stop = start + len(numbers)
        x[start:stop] = np.concatenate([numbers, codes], axis=1)
        y[start:stop] = numbers[:, 0] + codes[:, 0] / 25 > 1
        start = stop


def train(source: str, folder: Path, ranks: int) -> tuple[float, int]:
    """Train, and return the seconds and the largest memory of a rank in bytes."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    program = ["mpirun", "-n", str(ranks), sys.executable, "-m", "mpitrain", "--data", source, *TRAIN.split()]
    cache = {f"MPITRAIN_{name}": str(folder / "cache" / name) for name in ("TABLES", "ARRAYS")}
    start, largest = time.perf_counter(), 0
    output = subprocess.DEVNULL
    process = subprocess.Popen([*program, "--out", folder / "run"], env=os.environ | cache, stdout=output)
    while process.poll() is None:
        largest = max([largest, *(own_bytes(one) for one in below(process.pid))])
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"the training on {source} failed")
    return time.perf_counter() - start, largest


def below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    try:
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [grandchild for child in children for grandchild in below(child)]


def own_bytes(pid: int) -> int:
    """Return the memory of a process that is no file's."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    sys.exit(main())
