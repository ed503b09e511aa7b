"""Steps on a device that stands for a GPU: CUDA graphs, waits, memory."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Compute, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.errors import AgreedError
from mpitrain.training import devices
from mpitrain.training.loop import TrainingLoop
from tests.gpu.device import ShimDevice
from tests.kernels import cpu
from tests.mpi.device_training.runs import STEPS, config_of, graphs_of, run

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]


@pytest.mark.parametrize(
    "branches",
    [
        {"model": Model(name="mlp", widths=(16,), dropout=0.4), "optimizer": Optimizer(name="adamw", clip_norm=0.1)},
        {"model": Model(name="resnet8", batch_norm="local"), "optimizer": Optimizer(accumulate=2)},
        {"parallel": Parallel(all_reduce="ring", bucket_mb=0.01)},
    ],
    ids=["mlp", "resnet8", "buckets"],
)
def test_cuda_graphs(world, data, device, branches):
    """The bits of the eager run: with dropout, schedules, microbatches, and messages between graphs."""
    config = config_of(data, run=Run(epochs=3, progress="none"), **branches)
    found, launched = graphs_of(world, config, device)
    expected = run(world, config, device)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (launched > 0) == (device is not CPU)


def test_what_has_no_cuda_graph_is_said(world, data, capsys):
    """The host sums statistics of batch normalization over ranks in the middle of the step."""
    config = config_of(data, model=Model(name="resnet8"))
    graphs_of(world, config, ShimDevice())
    said = "in the middle of it ranks sum statistics" in capsys.readouterr().err
    assert said == (world.size > 1 and world.rank == 0)


def test_cuda_graph_without_a_gpu(world, data):
    config = config_of(data, compute=Compute(cuda_graph="on", device="cpu"))
    with pytest.raises(AgreedError, match="--cuda-graph on needs a GPU"):
        devices.take_device(config, world)


@pytest.mark.parametrize("ranks", ["alone", "world"])
@pytest.mark.parametrize("cuda_graph", ["off", "on"])
def test_a_steady_step_waits_for_the_device_once_and_asks_for_no_memory(request, data, ranks, cuda_graph):
    """The header and the norm are read together; nothing else of a step is, with messages or without."""
    device, steps = ShimDevice(), []
    counted = TrainingLoop._train_step

    def step(self, batches):
        with device.counted() as counts:
            found = counted(self, batches)
        steps.append([counts[name] for name in ("syncs", "buffers", "pinned")])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "_train_step", step)
        config = config_of(
            data,
            model=Model(name="mlp", widths=(16,), dropout=0.3),
            optimizer=Optimizer(clip_norm=0.5),
            parallel=Parallel(check_every=0),
            run=Run(epochs=4, progress="none"),
        )
        compute = Compute(cuda_graph=cuda_graph)
        run(request.getfixturevalue(ranks), dataclasses.replace(config, compute=compute), device)
    assert len(steps) == 4 * STEPS
    assert steps[3 * STEPS :] == [[1, 0, 0]] * STEPS
    if cuda_graph == "off":
        assert [syncs for syncs, _, _ in steps] == [1] * 4 * STEPS
