"""One rank of scripts/bench zero: WHAT WIDTH BATCH REPEAT FOLDER FILE CONTENDER...; rank 0 writes the row to FILE.

WHAT is time, for all contenders in turn in one job, or memory, for one of them.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.comm.world import World
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import Adam
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.pieces import cut_pieces

DEPTH, CLASSES = 7, 10
WARM_UP = 3
OURS = {
    "stage 0": {"shard": "none", "all_reduce": "ring"},
    "stage 1": {"shard": "optimizer", "all_reduce": "ring"},
    "stage 1, shared": {"shard": "optimizer"},
    "stage 2": {"shard": "gradients"},
    "stage 3, once": {"shard": "weights", "gather_weights": "once"},
    "stage 3, twice": {"shard": "weights", "gather_weights": "twice"},
}
FSDP = {"FSDP2, once": False, "FSDP2, twice": True}  # reshard_after_forward


def main() -> None:
    what, width, batch, repeat, folder, file = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5], Path(sys.argv[6])
    contenders = sys.argv[7:]
    CPU.use_threads(1)
    world = World()
    rng = np.random.default_rng(world.rank)
    x, y = rng.standard_normal((batch, width)).astype(np.float32), rng.integers(0, CLASSES, batch)
    if any(name in FSDP for name in contenders):
        join(world, folder)
    before = resident()
    steps = {name: make_step(name, world, x, y) for name in contenders}
    if what == "time":
        seconds = {name: round(1e3 * value, 3) for name, value in measure(world, steps, repeat).items()}
        row = {"mpi": world.mpi_version, "ranks": world.size, "ms": seconds}
    else:
        peak = 0
        for _ in range(repeat):
            steps[contenders[0]]()
            peak = max(peak, resident())
        peaks = world.all_gather((resident("VmHWM") - before, peak - before))
        row = {"highest": max(high for high, _ in peaks), "after": max(after for _, after in peaks)}
    if world.rank == 0:
        file.write_text(json.dumps(row))
    world.barrier()


def measure(world: World, steps: dict[str, Callable[[], None]], repeat: int) -> dict[str, float]:
    """Return the median seconds of a step of each, the slowest rank's, taken in turn."""
    seconds = np.empty((len(steps), WARM_UP + repeat))
    for number in range(WARM_UP + repeat):
        for j, step in enumerate(steps.values()):
            world.barrier()
            begin = time.perf_counter()
            step()
            seconds[j, number] = time.perf_counter() - begin
    return dict(zip(steps, np.median(world.maximum(seconds)[:, WARM_UP:], axis=1).tolist(), strict=True))


def resident(name: str = "VmRSS") -> int:
    """Return the bytes of this process in memory, or with VmHWM the most so far."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def make_step(name: str, world: World, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    return make_peer(x, y, FSDP[name]) if name in FSDP else make_ours(world, x, y, **OURS[name])


def make_ours(world: World, x: np.ndarray, y: np.ndarray, *, shard: str, **options: str) -> Callable[[], None]:
    group, width = world.group("data"), x.shape[1]
    model = models.build("mlp", (width,), CLASSES, widths=(width,) * DEPTH)

    def share(arena: Arena) -> list[slice]:
        return [piece.share(group.size, group.rank) for piece in cut_pieces(model, arena)]

    arena = Arena(model, divide=share if shard == "weights" else None)
    parallel = DataParallel(model, arena, group, shard=shard, **options)
    optimizer, loss, ctx = Adam(arena), SoftmaxCrossEntropy(), Context()

    def step() -> None:
        with parallel.step() as done:
            done.add(loss.forward(model.forward(x, ctx), y, ctx))
            model.backward(loss.backward(ctx), ctx)
        parallel.update(optimizer, 1e-4, 1 / done.totals.weight)

    return step


def join(world: World, folder: str) -> None:
    import torch
    import torch.distributed

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/join", rank=world.rank, world_size=world.size
    )


def make_peer(x: np.ndarray, y: np.ndarray, reshard: bool) -> Callable[[], None]:
    import torch
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    width, mesh = x.shape[1], init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(DEPTH)]
    model = nn.Sequential(*layers, nn.Linear(width, CLASSES))
    for layer in model:
        fully_shard(layer, mesh=mesh, reshard_after_forward=reshard)
    fully_shard(model, mesh=mesh, reshard_after_forward=reshard)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
