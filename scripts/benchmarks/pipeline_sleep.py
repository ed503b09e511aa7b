"""Schedules of work that sleeps, measured beside their predictions: SMALL FILE; rank 0 writes the rows to FILE.

Ranks that sleep need no cores of their own, and F, dx and dw of each P-th part of the model take equally long. The
prediction takes the time of a part that was measured on one rank alone, since a sleep lasts longer than is asked for,
and that of a message between two ranks.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from pipeline_cases import SLEEPING
from pipeline_ours import NoLoss, Pipeline, Sleep, alternate, make_batches, measure_link

from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.comm.world import World
from mpitrain.layers import Sequential
from mpitrain.pipelines import find, make_program
from mpitrain.pipelines.price import Costs, Price, predict_program

MICROBATCHES = 8


def main() -> None:
    is_small, file = bool(int(sys.argv[1])), Path(sys.argv[2])
    seconds, repeat = (1e-3, 2) if is_small else (10e-3, 8)
    world = World()
    mesh = Mesh(world, {"pipe": world.size})
    channel = Channel(mesh["pipe"])
    pipelines = [make_pipeline(name, mesh, channel, seconds) for name in SLEEPING]
    found: list[list[Price]] = [[] for _ in pipelines]

    def recorded(number: int) -> None:
        pipelines[number].passes()
        found[number].append(pipelines[number].record(world).run.price)

    alternate([lambda number=number: recorded(number) for number in range(len(pipelines))], repeat, 4, world)
    link = measure_link(world, channel, np.zeros((1, 16), np.float32), pipelines[0].stages.tied_tag(1000))
    rows = []
    for pipeline, prices in zip(pipelines, found, strict=True):
        program = pipeline.program
        parts = program.num_stages / world.size  # of a rank
        costs = Costs(*[(parts * measure_sleep(seconds / parts, world),)] * 3, in_seconds=True)
        wanted = predict_program(program, costs.durations(program), link, True).price
        asked = predict_program(program, Costs(*[(seconds,)] * 3, in_seconds=True).durations(program)).price
        row: dict[str, object] = {"schedule": program.name, "ranks": world.size, "microbatches": MICROBATCHES}
        for key in ("step", "bubble", "dependency", "imbalance", "message"):
            row[key] = round(float(np.median([getattr(price, key) for price in prices])), 5)
        row |= {"predicted_step": wanted.step, "predicted_bubble": round(wanted.bubble, 5)}
        row |= {"asked_step": asked.step, "asked_bubble": round(asked.bubble, 5)}
        rows.append(row | {"step_ratio": round(row["step"] / wanted.step, 4)})
    if world.rank == 0:
        file.write_text(json.dumps(rows))


def measure_sleep(seconds: float, world: World) -> float:
    """Return how long a sleep of so many seconds lasts on rank 0, while the other ranks sleep longer."""
    times = []
    if world.rank == 0:
        for _ in range(20):
            begin = time.perf_counter()
            time.sleep(seconds)
            times.append(time.perf_counter() - begin)
    world.meet()
    return float(world.all_gather(np.median(times) if times else 0.0)[0])


def make_pipeline(schedule: str, mesh: Mesh, channel: Channel, seconds: float) -> Pipeline:
    """Return a pipeline of which each P-th part takes so many seconds in F, for dx and for dw."""
    size = mesh["pipe"].size
    program = make_program(find(schedule), size, MICROBATCHES, schedule)
    model = Sequential(*(Sleep(seconds * size / program.num_stages) for _ in range(program.num_stages)))
    x, y = np.zeros((MICROBATCHES, 16), np.float32), np.zeros(MICROBATCHES, np.int64)
    batches = make_batches(x, y, MICROBATCHES)
    return Pipeline(model, range(1, program.num_stages + 1), program, mesh, channel, batches, NoLoss())


if __name__ == "__main__":
    main()
