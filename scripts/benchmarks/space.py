"""Layers whose rows are divided among ranks: speed against one rank, and against ranks that send nothing.

    mpirun -n 2 python scripts/benchmarks/space.py

Forward and backward, one thread a rank, the fastest of some turns, which follow each other so that other work on the
machine meets all alike. "speedup" is that over one rank that computes alone. "of own rows" is the time of the same
local layers on each rank's rows, all ranks at once and without messages, relative to that with halos: the cost of
halos, whatever the ranks of a machine share.
"""

import sys
import time

import numpy as np

from mpitrain.arena import Arena
from mpitrain.comm.world import World
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.layers import BatchNorm2d, Conv2d, MaxPool2d, ReLU, Sequential
from mpitrain.models import build
from mpitrain.parallel.space import divide

TURNS = 40
CASES = {
    "Conv2d(32, 32, 3)": (lambda: [Conv2d(32, 32, 3, padding=1)], (1, 512, 512, 32)),
    "Conv2d(64, 64, 3)": (lambda: [Conv2d(64, 64, 3, padding=1)], (2, 256, 256, 64)),
    "Conv2d(16, 16, 5)": (lambda: [Conv2d(16, 16, 5, padding=2)], (1, 512, 512, 16)),
    "Conv2d(32, 64, 3, stride=2)": (lambda: [Conv2d(32, 64, 3, 2, 1)], (1, 512, 512, 32)),
    "Conv2d(32, 32, 3), 24 rows a rank": (lambda: [Conv2d(32, 32, 3, padding=1)], (8, 48, 512, 32)),
    "MaxPool2d(3, stride=2)": (lambda: [MaxPool2d(3, 2, 1)], (1, 512, 512, 32)),
    "4 x (Conv2d(16, 16, 3), ReLU)": (
        lambda: [layer for _ in range(4) for layer in (Conv2d(16, 16, 3, padding=1), ReLU())],
        (1, 512, 512, 16),
    ),
    "4 x (Conv2d, BatchNorm2d, ReLU)": (
        lambda: [f for _ in range(4) for f in (Conv2d(16, 16, 3, padding=1), BatchNorm2d(16), ReLU())],
        (1, 512, 512, 16),
    ),
    "unet:depth=3,width=16": (lambda: list(build("unet:depth=3,width=16", (512, 512, 3), 2)), (1, 512, 512, 3)),
}


def make_step(model, x):
    """Return a function that does forward and backward."""
    arena, ctx = Arena(model, seed=1), Context()
    dy = np.random.default_rng(1).standard_normal(model.forward(x, ctx).shape).astype(np.float32)

    def step():
        arena.begin_step(1)
        model.forward(x, ctx)
        model.backward(dy, ctx)

    return step


def seconds(step):
    """Return the time of a step."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def measure(world, make, shape):
    """Return the least times of one rank, of all ranks on their own rows, and of all ranks with halos."""
    group = world.group("space")
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    mine = np.ascontiguousarray(x[:, share(shape[1], world.rank, world.size)])
    halos = divide(Sequential(*make()), group, shape[1:]).model
    halos.replace("0", halos[0].steps[1])  # without the Split of the images
    for layer in halos.layers():
        if isinstance(layer, BatchNorm2d):
            layer.sum_over_ranks = lambda vector: group.all_reduce(vector, "ring")
    one = make_step(Sequential(*make()), x) if world.rank == 0 else None
    own, divided = make_step(Sequential(*make()), mine), make_step(halos, mine)
    times = []
    for _ in range(TURNS):
        alone = seconds(one) if one is not None else 0.0
        world.barrier()
        apart = seconds(own)
        world.barrier()
        times.append((alone, world.maximum(np.array([apart]))[0], world.maximum(np.array([seconds(divided)]))[0]))
    return np.min(times, axis=0) * 1e3


def main():
    """Measure all cases, or those whose names begin with an argument."""
    world = World()
    for name, (make, shape) in CASES.items():
        if len(sys.argv) > 1 and not any(name.startswith(text) for text in sys.argv[1:]):
            continue
        one, own, halos = measure(world, make, shape)
        if world.rank == 0:
            size = "x".join(map(str, shape))
            print(f"{name:36} {size:16} 1 rank {one:6.1f} ms, {world.size} ranks {halos:6.1f} ms:", end=" ")
            print(f"speedup {one / halos:.2f}, {own / halos:.0%} of own rows", flush=True)


if __name__ == "__main__":
    main()
