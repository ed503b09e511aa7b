"""Our side of scripts/bench pipeline: models in stages, and steps whose tasks are recorded."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from pipeline_cases import RATE

from mpitrain.arena import Arena
from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.comm.world import World
from mpitrain.context import Context
from mpitrain.data.loader import Batch
from mpitrain.device.cpu import Stream
from mpitrain.layers import Layer, Sequential
from mpitrain.losses import Loss, Totals
from mpitrain.optim import SGD
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.pipeline.runner import PipelineRunner
from mpitrain.parallel.pipeline.stages import Stages
from mpitrain.parallel.roles import Roles
from mpitrain.pipelines import Program
from mpitrain.pipelines.simulate import Link
from mpitrain.pipelines.trace import Recorded, Span, Trace, replay

Step = Callable[[], object]


class Pipeline:
    """The stages of this rank, ready to do the steps that the trainer does, without its bookkeeping.

    Parameters
    ----------
    model : Sequential
        The whole, prepared.
    stops : sequence of int
        The unit after the last of each stage.
    program : Program
    mesh : Mesh
    channel : Channel
    batches : sequence of Batch
        The microbatches of a step.
    loss : Loss
    """

    def __init__(
        self,
        model: Sequential,
        stops: Sequence[int],
        program: Program,
        mesh: Mesh,
        channel: Channel,
        batches: Sequence[Batch],
        loss: Loss,
    ):
        self.program, self.batches = program, batches
        self.stages = Stages(model.units(), stops, program, mesh["pipe"].rank, np.zeros_like(batches[0].x[:1]))
        self.arena = Arena(self.stages.model)
        self.runner = PipelineRunner(self.stages, channel, loss, Context())
        model, arena = self.stages.model, self.arena
        self._parallel = DataParallel(model, arena, mesh["data"], synchronize_batch_norm=False, roles=Roles(mesh))
        self._optimizer = SGD(self.arena, momentum=0.9)

    def step(self) -> None:
        """Do forward and backward of all microbatches, and the update."""
        self._parallel.begin(len(self.batches))
        self.runner.run(self.batches, 0, self.arena.add_totals)
        self._parallel.finish()
        self._parallel.update(self._optimizer, RATE, 1 / float(self.arena.header[0]))

    def passes(self) -> None:
        """Do forward and backward of all microbatches, without the update."""
        self.arena.begin_step(len(self.batches))
        self.runner.run(self.batches, 0, self.arena.add_totals)

    def record(self, world: World) -> Recorded:
        """Return the tasks of all ranks in the last step; on one node they have one clock."""
        times = world.all_gather(self.runner.times.on_host_clock()[0])
        program, first = self.program, min(begin for own in times for begin, _ in own)
        spans = [
            Span(rank, task, begin - first, end - first)
            for rank, own in enumerate(times)
            for task, (begin, end) in zip(program.tasks[rank], own, strict=True)
        ]
        return replay(Trace(program.name, program.size, program.num_microbatches, spans))


def make_data_step(model: Sequential, x: np.ndarray, y: np.ndarray, world: World, loss: Loss) -> Step:
    """Return a step of data parallelism on this rank's samples."""
    arena, ctx = Arena(model), Context()
    parallel, optimizer = DataParallel(model, arena, world, synchronize_batch_norm=False), SGD(arena, momentum=0.9)

    def step() -> None:
        parallel.begin()
        arena.add_totals(loss.forward(model.forward(x, ctx), y, ctx))
        model.backward(loss.backward(ctx), ctx)
        parallel.finish()
        parallel.update(optimizer, RATE, 1 / float(arena.header[0]))

    return step


def make_batches(x: np.ndarray, y: np.ndarray, num_microbatches: int) -> list[Batch]:
    """Return the microbatches of a step."""
    parts = np.split(np.arange(len(x)), num_microbatches)
    return [Batch(x[part], y[part], int(part[0]), part) for part in parts]


def measure_link(world: World, channel: Channel, array: np.ndarray, tag: int) -> Link:
    """Return the time of a message of the size of ``array``: half of the time from rank 0 to rank 1 and back."""
    rank, seconds = world.rank, []
    for _ in range(30):
        world.barrier()
        begin = time.perf_counter()
        for sender, receiver in ((0, 1), (1, 0)):
            if rank == sender:
                channel.send(array, receiver, tag, "activation there and back").wait()
            elif rank == receiver:
                channel.receive(array, sender, tag, "activation there and back").wait()
        seconds.append((time.perf_counter() - begin) / 2)
    one_way = float(world.all_gather(np.median(seconds))[0])
    return lambda sender, receiver: (one_way, 0.0)


class Sleep(Layer):
    """A layer that sleeps: as long in forward as for dx and for dw, not at all for 0 seconds."""

    def __init__(self, seconds: float = 0.0):
        self._seconds = seconds

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x."""
        self._sleep()
        return x

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy."""
        self._sleep()
        if ctx.later is None:
            self._sleep()
        else:
            ctx.later.append(self._sleep)
        return dy

    def _sleep(self) -> None:
        if self._seconds:
            time.sleep(self._seconds)


class NoLoss(Loss):
    """A loss that costs nothing."""

    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the number of samples."""
        ctx[self] = outputs
        return Totals(len(outputs), 0.0, 0.0)

    def backward(self, ctx: Context) -> np.ndarray:
        """Return the outputs."""
        found: np.ndarray = ctx[self]
        return found


class MessageTimes:
    """Seconds in the calls that send and receive, in copies, and in the polls between layers, of one channel.

    Make it before the runner of the pipeline, read ``seconds`` after its steps, and ``stop`` in the end.
    """

    def __init__(self, channel: Channel, stream: Stream):
        self.seconds = {"sending": 0.0, "receiving": 0.0, "polling": 0.0, "copying": 0.0}
        self._stream = stream
        vars(stream)["copy"] = partial(self._timed, "copying", stream.copy)
        for method, name in (("send", "sending"), ("receive", "receiving"), ("poll", "polling")):
            vars(channel)[method] = partial(self._timed, name, getattr(channel, method))

    def stop(self) -> None:
        """Leave the stream, which others use, too, as it was."""
        del vars(self._stream)["copy"]

    def _timed(self, name: str, call: Callable[..., object], *arguments: object) -> object:
        begin = time.perf_counter()
        result = call(*arguments)
        self.seconds[name] += time.perf_counter() - begin
        return result


def alternate(steps: Sequence[Step], repeat: int, block: int, world: World) -> np.ndarray:
    """Return the seconds of each call (len(steps), repeat), those of the slowest rank.

    Steps go in blocks, one after another as in training; the first one of a block, which fills caches, is not counted.
    """
    seconds = np.empty((len(steps), repeat))
    for begin in range(0, repeat, block):
        for j in np.roll(range(len(steps)), begin // block):
            for i in range(begin - 1, min(begin + block, repeat)):
                world.barrier()
                start = time.perf_counter()
                steps[j]()
                seconds[j, max(i, begin)] = time.perf_counter() - start
    return world.maximum(seconds)
