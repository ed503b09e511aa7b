"""Runs with one slow rank: SLOWNESS,... REPEAT SMALL FILE; rank 0 writes the rows to FILE.

Of each slowness there are two cases: the last rank is slow from the first step, and from a third of the run.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import mpitrain as mt
from mpitrain.comm.world import World
from mpitrain.training.hooks.balance import Balance

BATCH, MICROBATCHES = 128, 32


class Sleep(mt.Layer):
    """Passes x on after a sleep in proportion to its samples, longer on the slow rank from ``from_step`` on."""

    def __init__(self, seconds: float, slowness: float, from_step: int):
        self.seconds, self.slowness, self.from_step = seconds, slowness, from_step

    def forward(self, x: np.ndarray, ctx: mt.Context) -> np.ndarray:
        """Return x."""
        factor = self.slowness if ctx.step >= self.from_step else 1.0
        if ctx.training:
            time.sleep(self.seconds * factor * len(x))
        return x

    def backward(self, dy: np.ndarray, ctx: mt.Context) -> np.ndarray:
        """Return dx."""
        return dy


class Watch(mt.Hook):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step_end(self, info: mt.StepInfo) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def main() -> None:
    slownesses, repeat, small, file = sys.argv[1].split(","), int(sys.argv[2]), bool(int(sys.argv[3])), sys.argv[4]
    world = World()
    seconds, steps = (2e-4, 60) if small else (5e-4, 150)
    rows = [
        measure(world, float(slowness), from_step, seconds, steps, repeat)
        for slowness in slownesses
        for from_step in (0, steps // 3)
    ]
    if world.rank == 0:
        Path(file).write_text(json.dumps(rows))


def measure(world: World, slowness: float, from_step: int, seconds: float, steps: int, repeat: int) -> dict[str, Any]:
    """Return the row of one case."""
    weights = ":".join(["1"] * (world.size - 1) + [str(1 / slowness)])
    times: dict[str, list[float]] = {"ideal": [], "off": [], "auto": [], "dynamic": []}
    found: list[int | None] = []
    for _ in range(repeat):
        for what in times:
            balance = weights if what == "ideal" else what
            ms, changes = train(world, balance, slowness, from_step, seconds, steps)
            times[what].append(ms)
            if what == "auto":
                later = [step - from_step for step in changes if step > from_step]
                found.append(later[0] if later else None)
    parts = world.size - 1 + 1 / slowness
    row = {f"{what}_ms": round(median(ms), 3) for what, ms in times.items()}
    after = None if None in found else median(step for step in found if step is not None)
    shared = {"ranks": world.size, "slowness": f"{slowness:g}", "from_step": from_step, "found_after": after}
    return shared | row | {"sleep_ms": round(1e3 * seconds * BATCH / parts, 3)}


def train(
    world: World, balance: str, slowness: float, from_step: int, seconds: float, steps: int
) -> tuple[float, list[int]]:
    """Train, and return the milliseconds of a step in the last quarter of the run, and the steps with changes."""
    slow = slowness if world.rank == world.size - 1 else 1.0

    def net(input_shape: tuple[int, ...], num_outputs: int) -> mt.Layer:
        return mt.Sequential(Sleep(seconds, slow, from_step), mt.Flatten(), mt.Linear(64, num_outputs))

    watch = Watch()
    settings: dict[str, Any] = {"steps": steps, "evaluate_every": str(steps), "batch_size": BATCH, "progress": "none"}
    if balance == "dynamic":
        settings["accumulate"] = MICROBATCHES
    trainer = mt.Trainer(net, "digits", hooks=[watch], world=world, balance=balance, **settings)
    noted: list[int] = []
    decide = Balance.step_end

    def noting(self: Balance, info: mt.StepInfo) -> None:
        before = len(self.balancer.changes)
        decide(self, info)
        noted.extend([info.step] * (len(self.balancer.changes) - before))

    Balance.step_end = noting  # type: ignore[method-assign]
    try:
        trainer.fit()
    finally:
        Balance.step_end = decide  # type: ignore[method-assign]
    spans = [1e3 * (after - before) for before, after in pairwise(watch.ends[-steps // 4 :])]
    return float(world.maximum(np.array([median(spans)]))[0]), noted


if __name__ == "__main__":
    main()
