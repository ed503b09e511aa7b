"""One rank of ``plan.py``: python plan_worker.py FOLDER ONLY JSON."""

import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from mpi4py import MPI

from mpitrain.arena import Arena
from mpitrain.comm.world import World
from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.planning import PRECISIONS, Estimate, Estimator, search
from mpitrain.planning.estimate import Work
from mpitrain.training import mesh_auto, mesh_trial
from mpitrain.training.mesh_trial import time_mesh
from mpitrain.training.recipe import make_optimizer
from mpitrain.training.setup import OwnParts, in_samples


class Case(NamedTuple):
    """A training."""

    model: str
    source: str
    batch: int


CASES = (
    Case("gpt:size=tiny", "tokens:{},window=256", 16),
    Case("gpt:size=small", "tokens:{},window=128", 8),
    Case("gpt:depth=8,width=512,heads=8", "tokens:{},window=128", 8),
    Case("llama:size=small", "tokens:{},window=128", 8),
    Case("mlp:widths=4096+4096+4096", "digits", 256),
    Case("mlp:widths=512+512+512+512", "digits", 512),
    Case("resnet20", "digits", 256),
)
SHOWN = 5


def config_of(case: Case, folder: str) -> Config:
    """Return the settings of a training."""
    return Config(
        data=Data(source=case.source.format(folder), batch_size=case.batch, prefetch=0),
        model=Model(name=case.model),
        optimizer=Optimizer(name="adamw"),
        parallel=Parallel(threads=1),
        run=Run(progress="none"),
    )


def plan(config: Config, world: World) -> tuple[list[Estimate], dict[str, Any]]:
    """Return what --mesh auto would find: the best way of each mesh."""
    dataset, model = mesh_auto._open(config, world, OwnParts())
    config = in_samples(config, dataset)
    batch = min(config.data.batch_size, len(dataset.train))
    facts = mesh_auto._measure(config, world, CPU, dataset, model, batch)
    found: Any = None
    if world.rank == 0:
        slots = len(make_optimizer(config.optimizer, Arena([])).slots)
        work = Work(batch, PRECISIONS["fp32"], float(slots))
        description = mesh_auto._describe(config, dataset, model)
        machine = mesh_auto._machine(world, facts)
        quick, exact = (Estimator(description, machine, work, facts["measured"], exact=way) for way in (False, True))
        found = search(quick, exact, world.size, mesh_auto.wish_of(config, dataset, model, world)).best[:SHOWN]
    return world.all_gather(found)[0], facts


def own_bytes() -> int:
    """Return the proportional set size of this process: of memory that several share, each has its part."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0


class Sizes(mesh_trial.Stamps):
    """Notes the memory of the process after the last step, too."""

    last = 0

    def step_end(self, info: Any) -> None:
        """Note time and memory."""
        super().step_end(info)
        if info.step == info.run.length.total_steps:
            Sizes.last = own_bytes()


def run_case(case: Case, folder: str, world: World) -> list[dict[str, Any]]:
    """Return a row for each mesh."""
    config = config_of(case, folder)
    best, _ = plan(config, world)
    rows = []
    for one in best:
        gc.collect()
        world.barrier()
        begin = own_bytes()
        seconds, error = time_mesh(mesh_auto._with(config, one.strategy), world, CPU, OwnParts(), one.seconds)
        grown = max(world.all_gather(Sizes.last - begin))
        rows.append(
            {
                "model": case.model,
                "batch": case.batch,
                "mesh": one.strategy.mesh_text,
                "how": mesh_auto.say_how(one.strategy),
                "predicted": one.seconds,
                "measured": seconds,
                "error": error,
                "predicted_bytes": one.memory.all,
                "measured_bytes": grown,
                "memory": asdict(one.memory),
                "parts": one.parts,
            }
        )
        if world.rank == 0:
            print(say(rows[-1]), flush=True)
    return rows


def say(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    if row["error"]:
        return f"| {row['model']} | {row['mesh']} {row['how']} | {row['error']} |"
    times = f"{1e3 * row['predicted']:.1f} | {1e3 * row['measured']:.1f} | {row['predicted'] / row['measured']:.2f}"
    sizes = f"{row['predicted_bytes'] / 1e6:.0f} | {row['measured_bytes'] / 1e6:.0f}"
    ratio = row["predicted_bytes"] / row["measured_bytes"]
    return f"| {row['model']} | {row['mesh']} {row['how']} | {times} | {sizes} | {ratio:.2f} |"


def main() -> None:
    """Run all cases."""
    folder, only, path = sys.argv[1:4]
    world = World()
    CPU.use_threads(1)
    mesh_trial.Stamps = Sizes  # type: ignore[misc]
    rows = []
    if world.rank == 0:
        print("| model | mesh | predicted ms | measured ms | ratio | predicted MB | measured MB | ratio |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
    for case in CASES:
        if case.model.startswith(only):
            rows += run_case(case, folder, world)
    if world.rank == 0 and path:
        Path(path).write_text(json.dumps(rows, indent=1))
    MPI.COMM_WORLD.Barrier()


if __name__ == "__main__":
    main()
