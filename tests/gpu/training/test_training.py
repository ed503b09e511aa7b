"""Training on the GPU's code path, with a device that stands for a GPU: the losses are the CPU's."""

import numpy as np
import pytest

from mpitrain.device import CPU
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import LARS, AdamW, global_norm
from tests.gpu.arrays import HiddenSync, NotOnCuPy
from tests.gpu.device import ShimDevice
from tests.gpu.training.job import Job

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


@pytest.mark.parametrize("optimizer", [AdamW, LARS])
def test_other_optimizers(device, optimizer):
    on_cpu, on_device = (Job("mlp", d, optimizer=optimizer, widths=(16,)) for d in (CPU, device))
    np.testing.assert_allclose(losses(on_device), losses(on_cpu), rtol=1e-4)
    assert global_norm(on_device.arena) == pytest.approx(global_norm(on_cpu.arena), rel=1e-4)


def test_microbatches_add_up(device):
    once, twice = (Job("convnet", device, microbatches=m, channels=(3, 4), width=8, batch=6) for m in (1, 2))
    np.testing.assert_allclose(losses(twice), losses(once), rtol=1e-5)


def test_label_smoothing_and_ignored_targets(device):
    jobs = [Job("mlp", d, loss=SoftmaxCrossEntropy(0.1, ignore_index=2), widths=(16,)) for d in (CPU, device)]
    np.testing.assert_allclose(losses(jobs[1]), losses(jobs[0]), rtol=1e-5)
    assert jobs[1].arena.header[0] == jobs[0].arena.header[0] < 6
    assert jobs[1].arena.header[2] == jobs[0].arena.header[2]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"dropout": 0.2, "activation": "gelu"}),
        ("mlp", {"optimizer": LARS}),
        ("convnet", {}),
        ("resnet8", {}),
    ],
)
def test_a_steady_step_allocates_no_buffer_and_waits_once(device, name, options):
    job = Job(name, device, **options)
    job.step()
    job.step()
    with device.counted() as counts:
        job.step()
    assert counts["buffers"] == counts["temporaries"] == 0, "asked the device for memory"
    assert counts["calls"] == 2, "the header is cleared and the sums of the loss are added; all else is ours"
    assert counts["syncs"] == 1, "the header is read, and nothing else"
    assert counts["copies"] == 2, "the header goes out and comes back"


def test_a_hidden_sync_is_found(device):
    job = Job("mlp", device)
    job.step()
    for read in (float, np.asarray, bool, lambda x: x.item(), lambda x: np.add(x, np.ones(1, np.float32))):
        with pytest.raises((HiddenSync, NotOnCuPy)):
            read(job.arena.values[:1])


@pytest.mark.parametrize(
    ("precision", "arch", "kernel", "rtol"),
    [("tf32", "sm_80", "gemm_mma", 2e-3), ("bf16", "sm_80", "gemm_mma", 2e-2)],
)
def test_lower_precision(precision, arch, kernel, rtol):
    """Products of rounded factors; weights, sums and all else in fp32: near the CPU's losses, and not equal to them."""
    device = ShimDevice(arch)
    device.precision = precision
    found, expected = losses(Job("mlp", device, widths=(24,)), 3), losses(Job("mlp", widths=(24,)), 3)
    assert device.launches[kernel] > 0
    assert device.launches["gemm_simt"] == 0
    np.testing.assert_allclose(found, expected, rtol=rtol)
    assert np.abs(np.array(found) - expected).max() > 1e-6


def test_probabilities_as_targets(device):
    """As of mixed samples: no kernel of our own, but the same numbers."""
    weights = (0.5, 1.0, 2.0, 1.5, *(1.0,) * 6)
    loss = SoftmaxCrossEntropy(0.1, class_weights=weights)
    jobs = [Job("mlp", d, loss=loss, widths=(16,)) for d in (CPU, device)]
    num_outputs = jobs[0].model.forward(jobs[0].x, jobs[0].ctx).shape[1]
    loss.class_weights = weights[:num_outputs]
    y = np.random.default_rng(1).random((len(jobs[0].x), num_outputs)).astype(np.float32)
    y /= y.sum(axis=1, keepdims=True)
    for job in jobs:
        job.y = job.device.from_host(y)
    np.testing.assert_allclose(losses(jobs[1]), losses(jobs[0]), rtol=1e-5)
    np.testing.assert_allclose(jobs[1].arena.header, jobs[0].arena.header, rtol=1e-5)
