"""Training on the GPU's code path, with a device that stands for a GPU: the losses are the CPU's."""

import numpy as np
import pytest

from tests.gpu.training import Job

STEPS = 4


def losses(job, steps=STEPS):
    return [job.step() for _ in range(steps)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"widths": (16, 16)}),
        ("mlp", {"widths": (17,), "dropout": 0.3, "activation": "gelu"}),
        ("convnet", {"channels": (4, 5), "width": 8}),
        ("lenet", {}),
        ("resnet8", {}),
    ],
)
def test_losses_are_the_cpus(device, name, options):
    on_cpu, on_device = Job(name, **options), Job(name, device, **options)
    np.testing.assert_allclose(losses(on_device), losses(on_cpu), rtol=2e-5)
    for mine, theirs in ((on_device.arena.values, on_cpu.arena.values), (on_device.arena.states, on_cpu.arena.states)):
        np.testing.assert_allclose(device.to_host(mine), theirs, rtol=1e-3, atol=2e-5)
