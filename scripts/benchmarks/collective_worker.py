"""One rank of scripts/bench collective: FOLDER [ALGORITHM ...]; rank 0 writes FOLDER/rows.json."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed

from mpitrain.comm.bench import SIZES
from mpitrain.comm.world import World

SECONDS = 0.3  # aimed at for one length of one contender
LEAST, MOST = 7, 151


def main() -> None:
    folder, algorithms = sys.argv[1], ["native", "auto", "shared", *sys.argv[2:]]
    world = World()
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/gloo", rank=world.rank, world_size=world.size)
    rows = []
    for num_bytes in SIZES:
        plans = {name: plan(world, name, num_bytes) for name in algorithms}
        tensor = torch.zeros(max(1, num_bytes // 4))
        runs = {name: run_of(p) for name, p in plans.items()} | {"gloo": lambda t=tensor: all_reduce(t)}
        us = {name: 1e6 * seconds for name, seconds in measure(world, runs).items()}
        for name in algorithms[1:]:
            row = {"algorithm": name, "chosen": plans[name].algorithm, "ranks": world.size, "mpi": world.mpi_version}
            row |= {"bytes": num_bytes, "us": us[name], "native_us": us["native"], "ratio": us["native"] / us[name]}
            rows.append(row | {"gloo_us": us["gloo"], "gloo_ratio": us["gloo"] / us[name]})
        for p in plans.values():
            p.free()
    if world.rank == 0:
        Path(folder, "rows.json").write_text(json.dumps(rows))
    world.barrier()
    torch.distributed.destroy_process_group()


def plan(world: World, name: str, num_bytes: int):
    """Return the plan; a buffer that will be summed in shared memory lives there, as the trainer's gradients do."""
    chosen = world.choose(num_bytes).name if name == "auto" else name
    shape = (max(1, num_bytes // 4),)
    buffer = world.shared_empty(shape) if chosen == "shared" else np.zeros(shape, np.float32)
    return world.plan_all_reduce(buffer, chosen)


def run_of(request) -> Callable[[], None]:
    def run() -> None:
        request.start()
        request.wait()

    return run


def all_reduce(tensor: torch.Tensor) -> None:
    torch.distributed.all_reduce(tensor)


def measure(world: World, runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median seconds of each, the slowest rank's; each runs twice in its turn and the second counts."""
    begin = time.perf_counter()
    for run in runs.values():
        run()
    once = float(world.maximum(np.array([time.perf_counter() - begin]))[0])
    repeats = int(np.clip(SECONDS * len(runs) / (2 * once), LEAST, MOST))
    seconds = np.empty((repeats, len(runs)))
    for i in range(repeats):
        for j, run in enumerate(runs.values()):
            run()
            world.barrier()
            begin = time.perf_counter()
            run()
            seconds[i, j] = time.perf_counter() - begin
    return dict(zip(runs, np.median(world.maximum(seconds), axis=0).tolist()))


if __name__ == "__main__":
    main()
