"""One rank of scripts/bench sync: OPTIMIZER FILE PARAMETERS...; rank 0 writes the rows to FILE."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mpitrain.arena import Arena, Parameter
from mpitrain.comm.node.window_all_reduce import SharedDevice
from mpitrain.comm.world import World
from mpitrain.device import CPU
from mpitrain.layers import init
from mpitrain.optim import SGD, AdamW
from mpitrain.parallel.make_sync import make_gradient_sync

LAYERS = 10
SECONDS = 2.0  # aimed at for one size of one contender
LEAST, MOST = 15, 401
WARM_UP = 3
OPTIMIZERS = {"sgd": lambda arena: SGD(arena, momentum=0.9), "adamw": AdamW}
CONTENDERS = {"native": ("native", "none"), "shared": ("shared", "none"), "sharded": ("auto", "optimizer")}


def main() -> None:
    optimizer, file = sys.argv[1], Path(sys.argv[2])
    CPU.use_threads(1)
    world = World()
    rows = []
    for size in map(int, sys.argv[3:]):
        runs = {name: make_run(world, size, optimizer, *how) for name, how in CONTENDERS.items()}
        us = {name: round(1e6 * seconds, 1) for name, seconds in measure(world, runs).items()}
        rows.append({"parameters": size, "ranks": world.size, "mpi": world.mpi_version, "us": us})
    if world.rank == 0:
        file.write_text(json.dumps(rows))


def make_run(world: World, size: int, optimizer: str, all_reduce: str, shard: str) -> Callable[[], float]:
    """Return a function that lets gradients appear, as backward does, and returns the seconds of all that follows."""
    group = world.group("data")
    layers = {f"layer{i}": Parameter((size // LAYERS,), init.normal(1.0)) for i in range(LAYERS)}
    arena = Arena(layers.items(), gradient_device=SharedDevice(group) if all_reduce == "shared" else None)
    sync = make_gradient_sync(arena, group, all_reduce, shard, 25 << 20)
    update = OPTIMIZERS[optimizer](arena)

    def run() -> float:
        sync.begin()
        arena.gradients.fill(1e-3)
        world.barrier()
        begin = time.perf_counter()
        for p in arena.parameters:
            sync.ready(p)
        sync.finish()
        sync.update(update, 1e-3, 1 / world.size)
        return time.perf_counter() - begin

    return run


def measure(world: World, runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median seconds of each, the slowest rank's, taken in turn."""
    for run in runs.values():
        run()
    once = max(run() for run in runs.values())
    once = float(world.maximum(np.array([once]))[0])
    repeats = int(np.clip(SECONDS / once, LEAST, MOST))
    seconds = np.array([[run() for run in runs.values()] for _ in range(WARM_UP + repeats)])
    return dict(zip(runs, np.median(world.maximum(seconds)[WARM_UP:], axis=0).tolist()))


if __name__ == "__main__":
    main()
