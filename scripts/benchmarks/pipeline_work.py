"""Steps of a network in stages: beside predictions and PyTorch's, and the weight of messages.

CASE SMALL REPEAT PEER FILE: PEER is 0 without PyTorch; rank 0 writes the rows to FILE, beside which PyTorch's ranks
meet.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pipeline_cases import CASES, LEAST_LOSS, MESSAGES, SMALL, WORKING, Case
from pipeline_ours import MessageTimes, Pipeline, alternate, make_batches, make_data_step, measure_link

from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.comm.world import World
from mpitrain.data.sampler import share
from mpitrain.device import CPU
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.parallel.pipeline.cut import Cut, cut_stages
from mpitrain.parallel.pipeline.demand import stage_demands
from mpitrain.parallel.pipeline.measure import measure_units
from mpitrain.pipelines import Program, find, make_program
from mpitrain.pipelines.price import Price, predict_program
from mpitrain.pipelines.simulate import Link

BLOCK, TRIAL = 4, 3


class Bench:
    """One network on the ranks of one pipeline."""

    def __init__(self, case: Case, repeat: int):
        self.case, self.repeat, self.world = case, repeat, World()
        self.mesh = Mesh(self.world, {"pipe": self.world.size})
        self.x, self.y = case.samples_of_a_step()
        self.batches = make_batches(self.x, self.y, case.microbatches)

    def program(self, schedule: str) -> Program:
        """Return the tasks of a schedule."""
        return make_program(find(schedule), self.world.size, self.case.microbatches, schedule)

    def cut(self, program: Program) -> Cut:
        """Return the cut that training takes, from the times of all units on rank 0; the others sleep."""
        found = None
        if self.world.rank == 0:
            loss = SoftmaxCrossEntropy(), self.batches[0].y
            costs = measure_units(self.case.make(), self.case.shape, self.case.samples, loss=loss)
            found = cut_stages(costs, stage_demands(program), slots=1)
        self.world.meet()
        cut: Cut = self.world.all_gather(found)[0]
        return cut

    def pipeline(self, program: Program, cut: Cut, channel: Channel) -> Pipeline:
        """Return this rank's stages."""
        model, loss = self.case.make(), SoftmaxCrossEntropy()
        return Pipeline(model, cut.stops, program, self.mesh, channel, self.batches, loss)

    def link(self, pipeline: Pipeline, channel: Channel) -> Link:
        """Return the time of a message of the size of an activation."""
        border = pipeline.stages.borders[0]
        array = np.zeros((self.case.samples, *border.shape), border.dtype)
        return measure_link(self.world, channel, array, pipeline.stages.tied_tag(1000))

    def steps(self, cut: Cut, folder: str) -> list[dict[str, Any]]:
        """Return the times of our steps beside the predicted ones, beside PyTorch's, and beside data parallelism."""
        world, channel = self.world, Channel(self.mesh["pipe"])
        pipelines = [self.pipeline(self.program(name), cut, channel) for name in WORKING]
        found: list[list[Any]] = [[] for _ in pipelines]
        mine = share(len(self.x), world.rank, world.size)
        data = make_data_step(self.case.make(), self.x[mine], self.y[mine], world, SoftmaxCrossEntropy())
        contenders = {("ours", pipeline.program.name): pipeline.step for pipeline in pipelines}
        contenders["ours", "data=2"] = data
        if folder:
            contenders |= self.peers(cut, folder)
        every = 1e3 * alternate(list(contenders.values()), self.repeat, BLOCK, world)
        self.check_losses(pipelines, [step for (side, _), step in contenders.items() if side != "ours"])
        link = self.link(pipelines[0], channel)
        for _ in range(self.repeat):  # apart, since gathering the times would come between the steps
            for pipeline, records in zip(pipelines, found, strict=True):
                world.barrier()
                pipeline.step()
                records.append(pipeline.record(world))
        rows: list[dict[str, Any]] = []
        for (side, what), ms in zip(contenders, every, strict=True):
            row = {"network": self.case.name, "side": side, "what": what, "ms": round(float(np.median(ms)), 3)}
            rows.append(row | {"least_ms": round(float(ms.min()), 3)})
        for row, pipeline, records in zip(rows, pipelines, found, strict=False):
            row |= self.predictions(pipeline, cut, link, [record.run.price for record in records])
            own = [record.predict().price.step for record in records]
            row["predicted_from_tasks_ms"] = round(1e3 * float(np.median(own)), 3)
        return rows

    def check_losses(self, pipelines: list[Pipeline], peers: list[Any]) -> None:
        """Refuse times of models that have learned the samples."""
        sums = [float(one.arena.header[1]) / float(one.arena.header[0]) for one in pipelines]
        for step in peers:
            losses: list[Any] = []
            step(losses)
            found = self.world.all_gather(sum(loss.item() for loss in losses))  # on the rank of the last stage
            sums.append(max(found))
        if not all(LEAST_LOSS < loss < 100 for loss in sums):
            raise SystemExit(f"the models have learned the samples, or diverged: losses {sums}")

    def predictions(self, pipeline: Pipeline, cut: Cut, link: Link, prices: list[Price]) -> dict[str, Any]:
        """Return the recorded time and bubble of the tasks of a step, and the predicted ones."""
        program = pipeline.program
        durations = cut.costs().durations(program)
        bare, with_messages = (predict_program(program, durations, one, True).price for one in (None, link))
        found: dict[str, Any] = {"tasks_ms": round(1e3 * float(np.median([price.step for price in prices])), 3)}
        for key in ("bubble", "dependency", "imbalance", "message"):
            found[key] = round(float(np.median([getattr(price, key) for price in prices])), 4)
        found |= {"predicted_ms": round(1e3 * bare.step, 3), "predicted_bubble": round(bare.bubble, 4)}
        found |= {"with_messages_ms": round(1e3 * with_messages.step, 3), "message_ms": round(1e3 * link(0, 1)[0], 4)}
        return found

    def peers(self, cut: Cut, folder: str) -> dict[tuple[str, str], Any]:
        """Return PyTorch's step of each schedule in its fastest memory format."""
        import peer
        import pipeline_peer
        import torch

        world, case = self.world, self.case
        torch.set_num_threads(1)
        peer.join(world.rank, world.size, folder)
        part = pipeline_peer.make_part(case, cut.stops, world.rank)
        num_parameters = sum(p.numel() for p in part.parameters())
        assert num_parameters == cut.parameters[world.rank], "not the same stage"
        settings = pipeline_peer.settings(case)
        steps = [pipeline_peer.make_step(case, cut.stops, self.x, self.y, world.rank, one) for one in settings]
        seconds = np.median(alternate(steps, TRIAL, TRIAL, world), axis=1)
        best: dict[tuple[str, str], Any] = {}
        for schedule in pipeline_peer.SCHEDULES:
            own = [number for number, setting in enumerate(settings) if setting[0] == schedule]
            number = min(own, key=lambda number: seconds[number])
            best[f"PyTorch {torch.__version__}, {settings[number][1]}", schedule] = steps[number]
        return best

    def messages(self) -> list[dict[str, Any]]:
        """Return the shares of a step in waiting, in calls of MPI and in copies, mean of ranks."""
        rows, world = [], self.world
        for name in MESSAGES:
            program = self.program(name)
            cut, channel = self.cut(program), Channel(self.mesh["pipe"])
            times = MessageTimes(channel, CPU.compute)
            pipeline = self.pipeline(program, cut, channel)
            pipeline.step()  # the first one makes its memory
            runner, before = pipeline.runner, {"waiting": pipeline.runner.waited, **times.seconds}
            whole = runner.times.seconds
            for _ in range(self.repeat):
                world.barrier()
                pipeline.step()
            after = {"waiting": runner.waited, **times.seconds}
            shares = world.sum(np.array([(after[key] - before[key]) / (runner.times.seconds - whole) for key in after]))
            row = {"network": self.case.name, "schedule": name, "mpi": world.mpi_version}
            row |= dict(zip(after, np.round(shares / world.size, 5).tolist(), strict=True))
            row["ms"] = round(1e3 * (runner.times.seconds - whole) / self.repeat, 2)
            rows.append(row)
            times.stop()
        return rows


def main() -> None:
    name, is_small, repeat, with_peer, file = sys.argv[1:]
    CPU.use_threads(1)
    bench = Bench((SMALL if int(is_small) else CASES)[name], int(repeat))
    cut = bench.cut(bench.program(WORKING[0]))
    folder = str(Path(file).parent) if int(with_peer) else ""
    found = {"cut": cut.report(), "steps": bench.steps(cut, folder), "messages": bench.messages()}
    if bench.world.rank == 0:
        Path(file).write_text(json.dumps(found))
    bench.world.barrier()


if __name__ == "__main__":
    main()
