"""One rank of scripts/bench collective: FOLDER PEER [ALGORITHM ...]; rank 0 writes FOLDER/PEER.json.

PEER is native, the MPI library's own, or gloo, torch.distributed's: each has a job of its own, since gloo's threads
would take the cores from the others. For the same reason gloo's runs begin at gloo's barrier: in MPI's, ranks poll.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mpitrain.comm.measure.bench import SIZES
from mpitrain.comm.measure.timing import real_zeros
from mpitrain.comm.world import World

SECONDS = 0.6  # aimed at for one length of one contender, over all passes
PASSES = 10  # what changes the machine's speed for a while changes a part of each length's runs
MOST = 40  # runs in a pass

Run = Callable[[], object]


def main() -> None:
    folder, peer, algorithms = sys.argv[1], sys.argv[2], ["auto", "shared", *sys.argv[3:]]
    world = World()
    make_peer = native_runs(world) if peer == "native" else gloo_runs(world, folder)
    benchmarks = {n: SizeBenchmark(world, algorithms, n, make_peer(n)) for n in SIZES}
    for _ in range(PASSES):
        for benchmark in benchmarks.values():
            benchmark.measure()
    rows = []
    for num_bytes, benchmark in benchmarks.items():
        us = benchmark.medians()
        for name in algorithms:
            row = {"algorithm": name, "chosen": benchmark.plans[name].algorithm, "ranks": world.size}
            row |= {"mpi": world.mpi_version, "bytes": num_bytes, "us": us[name]}
            rows.append(row | {f"{rival}_us": us[rival] for rival in us if rival not in algorithms})
    if world.rank == 0:
        Path(folder, f"{peer}.json").write_text(json.dumps(rows))
    world.barrier()


class SizeBenchmark:
    """All contenders at one length, in turn; each runs twice in its turn and the second time counts.

    A peer is a run and the barrier that it begins at.
    """

    def __init__(self, world: World, algorithms: list[str], num_bytes: int, peers: dict[str, tuple[Run, Run]]):
        self.world = world
        self.plans = {name: plan(world, name, num_bytes) for name in algorithms}
        self.runs = peers | {name: (run_of(p), world.barrier) for name, p in self.plans.items()}
        self.samples: list[list[float]] = []

    def measure(self) -> None:
        """Run a few times."""
        begin = time.perf_counter()
        for run, _ in self.runs.values():
            run()
        once = float(self.world.maximum(np.array([time.perf_counter() - begin]))[0])
        for _ in range(int(np.clip(SECONDS / PASSES * len(self.runs) / (2 * once), 1, MOST))):
            runs, first = list(self.runs.values()), len(self.samples)
            seconds = [0.0] * len(runs)
            for turn in range(len(runs)):  # no contender always follows the same one
                i = (first + turn) % len(runs)
                seconds[i] = time_second(*runs[i])
            self.samples.append(seconds)

    def medians(self) -> dict[str, float]:
        """Return the median microseconds of each, the slowest rank's."""
        seconds = self.world.maximum(np.array(self.samples))
        return dict(zip(self.runs, (1e6 * np.median(seconds, axis=0)).tolist()))


def time_second(run: Run, barrier: Run) -> float:
    """Return the seconds of the second of two runs."""
    run()
    barrier()
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def plan(world: World, name: str, num_bytes: int):
    """Return the plan; a buffer that will be summed in shared memory lives there, as the trainer's gradients do."""
    chosen = world.choose(num_bytes).name if name == "auto" else name
    length = max(1, num_bytes // 4)
    buffer = world.shared_empty((length,)) if chosen == "shared" else real_zeros(length)
    return world.plan_all_reduce(buffer, chosen)


def run_of(request) -> Run:
    def run() -> None:
        request.start()
        request.wait()

    return run


def native_runs(world: World) -> Callable[[int], dict[str, tuple[Run, Run]]]:
    """Return the runs of the library's all-reduce, and of the copy that bounds `shared`."""

    def make(num_bytes: int) -> dict[str, tuple[Run, Run]]:
        native = world.plan_all_reduce(real_zeros(max(1, num_bytes // 4)), "native")
        return {"native": (run_of(native), world.barrier), "copy": (copy_run(num_bytes), world.barrier)}

    return make


def copy_run(num_bytes: int) -> Run:
    """Return a run that reads and writes ``num_bytes`` in a buffer of that length, as a rank does in `shared`."""
    first, second = real_zeros(max(1, num_bytes // 8)), real_zeros(max(1, num_bytes // 8))

    def run() -> None:
        np.copyto(first, second)
        np.copyto(second, first)

    return run


def gloo_runs(world: World, folder: str) -> Callable[[int], dict[str, tuple[Run, Run]]]:
    """Return the runs of gloo's all-reduce."""
    import torch
    import torch.distributed

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/gloo", rank=world.rank, world_size=world.size)

    def make(num_bytes: int) -> dict[str, tuple[Run, Run]]:
        tensor = torch.from_numpy(real_zeros(max(1, num_bytes // 4)))
        return {"gloo": (lambda: torch.distributed.all_reduce(tensor), torch.distributed.barrier)}

    return make


if __name__ == "__main__":
    main()
