"""One rank of ``plan.py``: python plan_worker.py FOLDER CASE plan, or a number of a mesh of that plan."""

import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from mpitrain.arena import Arena
from mpitrain.comm.world import World
from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.planning import PRECISIONS, Estimate, Estimator, Strategy, search
from mpitrain.planning.estimate import Work
from mpitrain.training.mesh import auto, trial
from mpitrain.training.mesh.trial import time_mesh
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
    dataset, model = auto._open(config, world, OwnParts())
    config = in_samples(config, dataset)
    batch = min(config.data.batch_size, len(dataset.train))
    facts = auto._measure(config, world, CPU, dataset, model, batch)
    found: Any = None
    if world.rank == 0:
        slots = len(make_optimizer(config.optimizer, Arena([])).slots)
        work = Work(batch, PRECISIONS["fp32"], float(slots))
        description = auto._describe(config, dataset, model)
        machine = auto._machine(world, facts)
        quick, exact = (Estimator(description, machine, work, facts["measured"], exact=way) for way in (False, True))
        found = search(quick, exact, world.size, auto.wish_of(config, dataset, model, world)).best[:SHOWN]
    return world.all_gather(found)[0], facts


def own_bytes() -> int:
    """Return the proportional set size of this process: of memory that several share, each has its part."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0


class Sizes(trial.Stamps):
    """Notes the memory of the process after the last step, too."""

    last = 0

    def step_end(self, info: Any) -> None:
        """Note time and memory."""
        super().step_end(info)
        if info.step == info.run.length.total_steps:
            Sizes.last = own_bytes()


def predict(case: Case, folder: str, world: World) -> list[dict[str, Any]]:
    """Return a row for each mesh, as predicted."""
    best, _ = plan(config_of(case, folder), world)
    return [
        {
            "model": case.model,
            "batch": case.batch,
            "mesh": one.strategy.mesh_text,
            "how": auto.say_how(one.strategy),
            "strategy": asdict(one.strategy),
            "predicted": one.seconds,
            "predicted_bytes": one.memory.all,
            "memory": asdict(one.memory),
            "parts": one.parts,
        }
        for one in best
    ]


def measure(case: Case, folder: str, world: World, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with what is measured."""
    gc.collect()
    world.barrier()
    begin, strategy = own_bytes(), Strategy(**row["strategy"])
    config = auto.with_strategy(config_of(case, folder), strategy)
    seconds, error = time_mesh(config, world, CPU, OwnParts(), row["predicted"])
    grown = max(world.all_gather(Sizes.last - begin))
    return {**row, "measured": seconds, "error": error, "measured_bytes": grown}


def main() -> None:
    """Plan a case, or run one of its meshes."""
    folder, number, what = sys.argv[1:4]
    case, world = CASES[int(number)], World()
    CPU.use_threads(1)
    trial.Stamps = Sizes  # type: ignore[misc]
    file = Path(folder, f"plan{number}.json")
    if what == "plan":
        rows = predict(case, folder, world)
    else:
        rows = json.loads(file.read_text())
        rows[int(what)] = measure(case, folder, world, rows[int(what)])
    world.barrier()
    if world.rank == 0:
        file.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
