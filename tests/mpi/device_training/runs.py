"""Short runs on devices that stand for GPUs, by CUDA graphs and with NCCL's sums too."""

import dataclasses

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.config import Config, Data, Model, Optimizer, Run
from mpitrain.device import CPU
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.executors import graphed as graphs
from mpitrain.training.hooks import Hook
from mpitrain.training.setup import open_setup
from tests.gpu.device import spoil

STEPS = 3


def run(world, config, device, algorithms=None, hooks=(), **options):
    """Return the losses of all steps, the test score and the weights; ``algorithms`` gets the names of the sums."""
    use_device(device, world, **options)
    setup = open_setup(config, world, device)
    loop = make_loop(config, setup, world, make_progress("none", None, config.run.epochs), hooks=hooks)
    losses = []
    step = loop._train_step
    loop._train_step = lambda batches: losses.append(step(batches)) or losses[-1]
    loop.train()
    weights = device.to_host(setup.arena.values).copy()
    if algorithms is not None:
        algorithms.update(loop.run.data_parallel.sync.algorithms)
    loop.run.data_parallel.free()
    use_device(CPU, world)
    return np.array(losses), loop.run.results.evaluations[-1].test, weights


def config_of(data, **branches):
    config = Config(
        data=Data(source=data, batch_size=16),
        model=Model(name="convnet"),
        optimizer=Optimizer(lr=0.02, schedule="constant"),
        run=Run(epochs=1, progress="none"),
    )
    return dataclasses.replace(config, **branches)


def graphs_of(world, config, device):
    """Return what ``run`` does by graphs, and how many microbatches were."""
    launched = []
    launch = graphs.StepGraphs._launch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs.StepGraphs, "_launch", lambda *args: launched.append(launch(*args)))
        compute = dataclasses.replace(config.compute, cuda_graph="on")
        return run(world, dataclasses.replace(config, compute=compute), device), len(launched)


class FakeGroup:
    """NCCL's collectives by MPI, at a moment of their own: results are there at the second query."""

    def __init__(self, comm):
        self.comm = comm

    def all_reduce(self, array):
        self.comm.Allreduce(MPI.IN_PLACE, array.memory)
        return self._end(array, lambda: None)

    def all_to_all(self, array, result):
        spoil(result.memory)
        sent, arrives = array.memory.copy(), np.empty_like(result.memory)
        request = self.comm.Ialltoall(sent, arrives)
        return self._end(array, lambda: (request.Wait(), np.copyto(result.memory, arrives), sent))

    def all_gather(self, array):
        each = array.size // self.comm.size
        mine, arrives = array.memory[self.comm.rank * each :][:each].copy(), np.empty_like(array.memory)
        spoil(array.memory)
        request = self.comm.Iallgather(mine, arrives)
        return self._end(array, lambda: (request.Wait(), np.copyto(array.memory, arrives), mine))

    @staticmethod
    def _end(array, work):
        stream = array.device.stream()
        stream.queue.append(work)
        return stream.record()


class Looks(Hook):
    """A hook that could leave a step out: so updates wait for the host."""

    def gradients_ready(self, info):
        return None
