"""Train on every mesh of one, two or three axes and compare losses and weights with those of one rank, in float32.

mpirun -n 4 python scripts/benchmarks/mesh_equality.py [STEPS]
"""

import itertools
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from mpi4py import MPI

from mpitrain import Hook, Trainer
from mpitrain.comm.axes import say_sizes
from mpitrain.comm.world import World
from mpitrain.errors import AgreedError

TEXT = f"text:{Path(__file__).parents[2] / 'LICENSE'},window=13"
GPT = "gpt:depth=2,width=24,heads=6"
MODELS = {
    "mlp:widths=13+24+10+8": ("digits", ("pipe", "tensor")),
    f"{GPT},dropout=0.1": (TEXT, ("pipe", "context", "tensor")),
    f"{GPT},experts=6,top_k=2": (TEXT, ("expert", "pipe", "context", "tensor")),
    "convnet:channels=4+6,width=20": ("digits", ("space", "pipe", "tensor")),
}


class Losses(Hook):
    """Keep the mean loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def step_end(self, info: Any) -> None:
        """Keep that of one step."""
        self.values.append(info.loss)


def meshes(size: int, axes: tuple[str, ...]) -> list[str]:
    """Return the meshes of ``size`` ranks with one, two or three of data and ``axes``."""
    divisors = [n for n in range(2, size + 1) if size % n == 0]
    found = []
    for count in (1, 2, 3):
        for some in itertools.combinations(("data", *axes), count):
            sizes = [one for one in itertools.product(divisors, repeat=count) if math.prod(one) == size]
            found += [say_sizes({"data": 1} | dict(zip(some, one, strict=True))) for one in sizes]
    return found


def train(world: World, model: str, source: str, path: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return the losses of the steps, and the weights by name."""
    losses = Losses()
    settings: dict[str, Any] = {
        "batch_size": 30,
        "accumulate": 4,
        "threads": 1,
        "progress": "none",
        "shard": "none",
        "lr": 0.01,
    }
    trainer = Trainer(model, source, hooks=[losses], world=world, **settings, **options)
    trainer.fit()
    trainer.save(path)
    world.barrier()
    weights = safetensors.numpy.load_file(path)
    world.barrier()
    return np.array(losses.values), weights


def apart(found: Any, expected: Any) -> float:
    """Return the largest difference relative to the largest value."""
    return float(np.abs(found - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-3))


def main() -> None:
    """Print a line for each mesh."""
    world, alone = World(), World(MPI.COMM_SELF)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    folder = Path(world.all_gather(tempfile.mkdtemp())[0])
    rows = []
    for model, (source, axes) in MODELS.items():
        expected, whole = train(alone, model, source, folder / f"one{world.rank}", steps=steps)
        for mesh in meshes(world.size, axes):
            try:
                losses, weights = train(world, model, source, folder / "mesh", steps=steps, mesh=mesh)
            except AgreedError as error:
                row = f"refused: {error}"
            else:
                rows.append((apart(losses, expected), max(apart(weights[name], whole[name]) for name in whole)))
                row = f"losses {rows[-1][0]:.1e}, weights {rows[-1][1]:.1e}"
            if world.rank == 0:
                print(f"{model} {mesh}: {row}", flush=True)
    if world.rank == 0 and rows:
        worst = [max(column) for column in zip(*rows, strict=True)]
        print(f"{len(rows)} meshes, {steps} steps: losses within {worst[0]:.1e}, weights within {worst[1]:.1e}")


main()
