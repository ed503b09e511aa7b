"""Decoding of JPEG files into batches, against PyTorch's DataLoader with as many workers; both by Pillow.

Photos of 500x375 pixels are made from two of scikit-learn's. Each way runs in processes of its own, in turn. mpitrain
decodes once, into its cache, and reads that in every epoch; a DataLoader decodes in every epoch. Its time is that of an
epoch without the start of its workers; the time of mpitrain has everything from the folder to the mapped file, with the
list of the files and what waits for the disk. Images stay bytes in both.

    scripts/bench image_decoding [--images 2000] [--workers 2] [--sizes 224,64] [--repeats 5] [--json FILE]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WAYS = {
    "ranks": "mpitrain, a rank for each worker",
    "threads": "mpitrain, one rank with as many threads",
    "loader": "DataLoader, decodes at full size",
    "draft": "DataLoader, decodes JPEGs smaller, as mpitrain does",
}
BATCH = 64


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench image_decoding", description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sizes", default="224,64", help="side that images get; several are measured in turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", default=",".join(WAYS), help="which to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--folder", type=Path, help="for the files, which are deleted afterwards")
    parser.add_argument("--worker", nargs=4, metavar=("WAY", "FOLDER", "SIZE", "WORKERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        way, folder, size, workers = options.worker
        measure = measure_ours if way in ("ranks", "threads") else measure_loader
        found = measure(way, folder, int(size), int(workers))
        if found:
            print(json.dumps(found))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        mean = write_photos(folder / "photos", options.images)
        print(f"{options.images:,} JPEGs of 500x375 pixels, {mean / 1e3:.0f} kB each; {options.workers} workers")
        for size in map(int, options.sizes.split(",")):
            runs = interleaved(folder, size, options)
            rows += [{"size": size, **summary(way, found, runs, options.images)} for way, found in runs.items()]
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def write_photos(folder: Path, count: int) -> float:
    """Write photos of two classes, each another part of a real one; return their mean size in bytes."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = [Image.fromarray(image) for image in load_sample_images().images]
    total = 0
    for number in range(count):
        photo = photos[number % 2]
        width = int(rng.integers(300, 560))
        height = width * 3 // 4
        left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
        part = photo.resize((500, 375), box=(left, top, left + width, top + height))
        path = folder / ("temple", "flower")[number % 2] / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.save(path, quality=90)
        total += path.stat().st_size
    return total / count


def interleaved(folder: Path, size: int, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    ways = options.ways.split(",")
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for turn in range(options.repeats):
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            runs[way].append(run(way, folder, size, options.workers))
    return runs


def run(way: str, folder: Path, size: int, workers: int) -> dict[str, float]:
    launch = ["mpirun", "-n", str(workers if way == "ranks" else 1)] if way in ("ranks", "threads") else []
    command = [*launch, sys.executable, __file__, "--worker", way, str(folder), str(size), str(workers)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def measure_ours(way: str, folder: str, size: int, workers: int) -> dict[str, float] | None:
    """Return the seconds of decoding into an empty cache, and of a later epoch, of the slowest rank."""
    from mpitrain.comm.world import World
    from mpitrain.data import Loader, open_dataset
    from mpitrain.data.dataset import Split
    from mpitrain.device import CPU
    from mpitrain.training.prepare import prepare

    world = World()
    cache = Path(folder, "cache")
    os.environ["MPITRAIN_IMAGES"] = str(cache)
    if world.rank == 0:
        shutil.rmtree(cache, ignore_errors=True)
    CPU.use_threads(1 if way == "ranks" else workers)
    source = f"images:{folder}/photos,size={size}"
    world.barrier()
    begin, cpu_before = time.perf_counter(), time.process_time()
    prepare(world, source)
    data = open_dataset(source)
    world.barrier()
    seconds = time.perf_counter() - begin
    cpu = float(world.sum(np.array([time.process_time() - cpu_before]))[0])
    whole = Split(data.train.x, data.train.y)
    options = {"batch_size": BATCH, "rank": world.rank, "size": world.size, "seed": 0, "normalizer": None}
    loader = Loader(whole, **options, prefetch=2)  # type: ignore[arg-type]
    world.barrier()
    begin = time.perf_counter()
    for _ in loader.epoch(1):
        pass
    world.barrier()
    later = (time.perf_counter() - begin) * (len(data.train) + len(data.test)) / len(data.train)
    found = {"first": seconds + later, "decoding": seconds, "later": later, "cpu": cpu}
    return found if world.rank == 0 else None


class Photos:
    """The files of a folder, decoded one by one: a map-style dataset of PyTorch."""

    def __init__(self, folder: str, size: int, *, draft: bool):
        self.files = sorted(str(path) for path in Path(folder, "photos").rglob("*.jpg"))
        self.size, self.draft = size, draft

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        import torch

        with Image.open(self.files[number]) as image:
            if self.draft:
                image.draft("RGB", (2 * self.size, 2 * self.size))
            picture = image.convert("RGB")
        scale = self.size / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        picture = picture.crop((left, top, left + self.size, top + self.size))
        return torch.from_numpy(np.array(picture)), "temple" in self.files[number]


def measure_loader(way: str, folder: str, size: int, workers: int) -> dict[str, float]:
    """Return the seconds of the first epoch, with the start of the workers, and of a later one."""
    from torch.utils.data import DataLoader

    photos: Any = Photos(folder, size, draft=way == "draft")
    loader = DataLoader(photos, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
    before = cpu_seconds()
    first, later = epoch_seconds(loader), epoch_seconds(loader)
    loader._iterator._shutdown_workers()  # so that their time is counted
    return {"first": first, "decoding": later, "later": later, "cpu": (cpu_seconds() - before) / 2}


def epoch_seconds(loader: Any) -> float:
    begin = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - begin


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def summary(way: str, found: list[dict[str, float]], runs: dict[str, Any], count: int) -> dict[str, Any]:
    """Return medians in images a second, and the median of the ratios to the DataLoader's of the same turn."""
    rates = {name: statistics.median(count / one[name] for one in found) for name in ("decoding", "first", "later")}
    rates["cpu"] = statistics.median(1e3 * one["cpu"] / count for one in found)
    peers = runs.get("loader", found)
    ratio = statistics.median(peer["decoding"] / one["decoding"] for one, peer in zip(found, peers, strict=True))
    return {"way": WAYS[way], **rates, "ratio": ratio}


def show(rows: list[dict[str, Any]]) -> None:
    print("| size | way | decoding, images/s | to the DataLoader | CPU ms an image | first epoch | later epochs |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        cells = f"{row['decoding']:,.0f} | {row['ratio']:.2f} | {row['cpu']:.2f} | {row['first']:,.0f}"
        cells += f" | {row['later']:,.0f}"
        print(f"| {row['size']} | {row['way']} | {cells} |")


if __name__ == "__main__":
    sys.exit(main())
