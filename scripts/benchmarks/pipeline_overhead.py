"""Time of a task beside its layers, on layers that do nothing: SMALL FILE; rank 0 writes the rows to FILE.

One rank runs the tasks of a pipeline of four ranks in the order of time; several have a stage (or two) each, and send
arrays of 64 bytes. What a task takes is all of it: the choice of the task, contexts, calls of MPI, polls, and without
waiting or with it.
"""

import json
import sys
from pathlib import Path

import numpy as np
from pipeline_cases import OVERHEAD
from pipeline_ours import NoLoss, Pipeline, Sleep, make_batches

from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.comm.world import World
from mpitrain.layers import Sequential
from mpitrain.pipelines import find, in_one_process, make_program, simulate

SIZE, MICROBATCHES = 4, 16


def main() -> None:
    repeat, file = 20 if int(sys.argv[1]) else 300, Path(sys.argv[2])
    world = World()
    mesh = Mesh(world, {"pipe": world.size})
    channel, rows = Channel(mesh["pipe"]), []
    for name in OVERHEAD:
        pipeline = make_pipeline(name, mesh, channel)
        runner, times = pipeline.runner, []
        for _ in range(repeat):
            before = np.array([runner.times.seconds, runner.waited])
            world.barrier()
            pipeline.passes()
            times.append(np.array([runner.times.seconds, runner.waited]) - before)
        seconds, waited = np.array(times).T / len(runner.tasks)
        everything, own = (1e6 * np.median(some) for some in (seconds, seconds - waited))
        row = {"schedule": name, "ranks": world.size, "tasks": len(runner.tasks)}
        rows.append(row | {"us": round(everything, 2), "us_without_waiting": round(own, 2)})
    slowest = [max(some, key=lambda row: row["us_without_waiting"]) for some in zip(*world.all_gather(rows))]
    if world.rank == 0:
        file.write_text(json.dumps(slowest))


def make_pipeline(schedule: str, mesh: Mesh, channel: Channel) -> Pipeline:
    """Return a pipeline of layers that do nothing."""
    size = mesh["pipe"].size
    program = make_program(find(schedule), size if size > 1 else SIZE, MICROBATCHES, schedule)
    if size == 1:
        program = in_one_process(program, simulate(program).begins)
    model = Sequential(*(Sleep() for _ in range(program.num_stages)))
    x, y = np.zeros((MICROBATCHES, 16), np.float32), np.zeros(MICROBATCHES, np.int64)
    batches = make_batches(x, y, MICROBATCHES)
    return Pipeline(model, range(1, program.num_stages + 1), program, mesh, channel, batches, NoLoss())


if __name__ == "__main__":
    main()
