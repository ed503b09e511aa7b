"""The last layer and its loss in chunks of rows, on a device: sums and gradients are those of the CPU."""

import numpy as np
import pytest

from mpitrain import head_loss
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.head_loss import HeadLoss, split_head
from mpitrain.losses import SoftmaxCrossEntropy
from tests.gpu.device import ShimDevice
from tests.unit.test_head_loss import LOSSES, batch, separate, tied

LAUNCHES = {"softmax_cross_entropy": 4, "column_sum": 4 + 4 + 1}  # 4 chunks; sums of losses, of biases


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(head_loss, "LARGE", 8)
    monkeypatch.setattr(head_loss, "LEAST_ROWS", 1000)  # of the CPU: one chunk
    monkeypatch.setattr(head_loss, "LEAST_ROWS_OF_A_GPU", 4)
    monkeypatch.setattr(head_loss, "CHUNK_BYTES", 0)


class Job:
    def __init__(self, make, options, device):
        self.model, self.device = make(), device
        self.arena, self.ctx = Arena(self.model, seed=1, device=device), Context(device=device)
        self.arena.values *= 20
        self.body, self.loss = split_head(self.model, SoftmaxCrossEntropy(**options))
        assert isinstance(self.loss, HeadLoss)

    def step(self, batches):
        self.arena.begin_step(len(batches))
        for x, y in batches:
            x, y = self.device.from_host(x), self.device.from_host(y)
            self.arena.add_totals(self.loss.forward(self.body.forward(x, self.ctx), y, self.ctx))
            self.body.backward(self.loss.backward(self.ctx), self.ctx)
        self.arena.end_backward()
        self.arena.put_header()
        self.arena.get_header()
        return self.arena.header[:3].copy(), self.device.to_host(self.arena.gradients)


@pytest.mark.parametrize("options", LOSSES)
@pytest.mark.parametrize("make", [tied, separate])
def test_sums_and_gradients_are_the_cpus(device, make, options):
    """Rows of logits are 64 elements apart there, of which 13 are used, and chunks have 3 or 4 rows."""
    options = LOSSES[options]
    batches = [batch(seed, rows, options.get("ignore_index", -100)) for seed, rows in ((0, 3), (1, 2))]
    jobs = [Job(make, options, each) for each in (CPU, device)]
    for _ in range(2):
        (expected, gradients), (found, mine) = (job.step(batches) for job in jobs)
        np.testing.assert_allclose(found, expected, rtol=2e-5)
        scale = np.abs(gradients[64:]).max()
        np.testing.assert_allclose(mine[64:], gradients[64:], rtol=2e-5, atol=2e-5 * scale)


@pytest.mark.parametrize("make", [tied, separate])
def test_bf16(make):
    """Logits and their gradient in bf16; sums, dw and db in fp32, near the CPU's and not equal to them."""
    device = ShimDevice("sm_80")
    device.precision = "bf16"
    jobs = [Job(make, LOSSES["smooth"], each) for each in (CPU, device)]
    for job in jobs:
        job.arena.values /= 8  # which bf16 has not enough digits for
    (expected, gradients), (found, mine) = (job.step([batch(), batch(1, 2)]) for job in jobs)
    assert device.launches["softmax_cross_entropy"] == 4 + 3
    np.testing.assert_allclose(found, expected, rtol=2e-2)
    np.testing.assert_array_equal(found[0], expected[0])
    difference = np.linalg.norm(mine[64:] - gradients[64:])
    assert 1e-4 < difference / np.linalg.norm(gradients[64:]) < 2e-2


def test_evaluation_gives_the_sums_of_all_chunks(device):
    x, y = batch()
    expected, found = (
        each.device.to_host(
            each.loss.evaluate(
                each.body.forward(each.device.from_host(x), each.ctx), each.device.from_host(y), each.ctx
            )
        )
        for each in (Job(tied, LOSSES["smooth"], CPU), Job(tied, LOSSES["smooth"], device))
    )
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_a_chunk_is_five_launches(device):
    """Logits, the loss with its gradient in place, its sums, dx and dw; and the gradient of a bias."""
    job, batches = Job(separate, {}, device), [batch()]
    job.step(batches)
    with device.counted() as counts:
        job.step(batches)
    assert {name: counts["launches"][name] for name in LAUNCHES} == LAUNCHES
    assert counts["buffers"] == 2, "the batch"
