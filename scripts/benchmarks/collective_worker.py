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

SECONDS = 0.6  # aimed at for one length of one contender, over all passes
PASSES = 10  # what changes the machine's speed for a while changes a part of each length's runs
MOST = 40  # runs in a pass


def main() -> None:
    folder, algorithms = sys.argv[1], ["native", "auto", "shared", *sys.argv[2:]]
    world = World()
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/gloo", rank=world.rank, world_size=world.size)
    contests = {n: Contest(world, algorithms, n) for n in SIZES}
    for _ in range(PASSES):
        for contest in contests.values():
            contest.measure()
    rows = []
    for num_bytes, contest in contests.items():
        us = contest.medians()
        for name in algorithms[1:]:
            row = {"algorithm": name, "chosen": contest.plans[name].algorithm, "ranks": world.size}
            row |= {"mpi": world.mpi_version, "bytes": num_bytes, "us": us[name], "native_us": us["native"]}
            row |= {"ratio": us["native"] / us[name], "gloo_us": us["gloo"], "gloo_ratio": us["gloo"] / us[name]}
            rows.append(row)
    if world.rank == 0:
        Path(folder, "rows.json").write_text(json.dumps(rows))
    world.barrier()
    torch.distributed.destroy_process_group()


class Contest:
    """All contenders at one length, in turn; each runs twice in its turn and the second time counts."""

    def __init__(self, world: World, algorithms: list[str], num_bytes: int):
        self.world = world
        self.plans = {name: plan(world, name, num_bytes) for name in algorithms}
        tensor = torch.zeros(max(1, num_bytes // 4))
        self.runs = {name: run_of(p) for name, p in self.plans.items()} | {"gloo": lambda: all_reduce(tensor)}
        self.samples: list[list[float]] = []

    def measure(self) -> None:
        """Run a few times."""
        begin = time.perf_counter()
        for run in self.runs.values():
            run()
        once = float(self.world.maximum(np.array([time.perf_counter() - begin]))[0])
        for _ in range(int(np.clip(SECONDS / PASSES * len(self.runs) / (2 * once), 1, MOST))):
            runs, first = list(self.runs.values()), len(self.samples)
            seconds = [0.0] * len(runs)
            for turn in range(len(runs)):  # nobody always runs after the same other
                i = (first + turn) % len(runs)
                seconds[i] = self.second(runs[i])
            self.samples.append(seconds)

    def second(self, run: Callable[[], None]) -> float:
        """Return the seconds of the second of two runs."""
        run()
        self.world.barrier()
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    def medians(self) -> dict[str, float]:
        """Return the median microseconds of each, the slowest rank's."""
        seconds = self.world.maximum(np.array(self.samples))
        return dict(zip(self.runs, (1e6 * np.median(seconds, axis=0)).tolist()))


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


if __name__ == "__main__":
    main()
