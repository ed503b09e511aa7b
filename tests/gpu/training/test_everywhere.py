"""Every layer, every model and a transformer, on what stands for a GPU and, with -m gpu, on a GPU.

What stands for a GPU has no cuBLAS: that these tests pass there proves that none is needed.
"""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.device import CPU
from tests.gpu.device import ShimDevice
from tests.gpu.layers.check import compare_layer
from tests.gpu.layers.every_layer import CASES, all_layers, layers_of
from tests.gpu.training.job import SHAPES, Job
from tests.gpu.training.test_graphs import Stepper

STEPS = 4


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_layers(anywhere, name, training):
    """Against float64 and central differences. Gradients of the tied head reach 10^4: fp32 of a CPU errs as much."""
    case = CASES[name]
    tolerance = 2e-4 if name == "tokens, tied head" else 1e-4
    compare_layer(anywhere, case.make, case.x(), training=training, tolerance=tolerance)


def test_every_layer_has_a_case():
    covered = set().union(*map(layers_of, CASES.values()))
    assert all_layers() - covered == set(), "write a case in tests/gpu/layers/every_layer.py"


def test_every_model_has_a_shape():
    assert set(models.names()) == set(SHAPES), "write a shape in tests/gpu/training/job.py"


@pytest.mark.parametrize("name", [*SHAPES, "transformer"])
def test_models(anywhere, name):
    """The first loss, and the gradient, whose elements where a ReLU is near its kink may differ."""
    jobs = [Job(name, device, batch=2) for device in (CPU, anywhere)]
    losses = [job.step() for job in jobs]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    expected, found = (np.float64(job.device.to_host(job.arena.gradients)) for job in jobs)
    assert np.linalg.norm(found - expected) < 1e-2 * np.linalg.norm(expected)


def test_a_transformer_learns_as_on_the_cpu(anywhere):
    on_cpu, on_device = Job("transformer"), Job("transformer", anywhere)
    losses = np.array([[job.step() for _ in range(STEPS)] for job in (on_device, on_cpu)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert losses[0, -1] < losses[0, 0]
    mine, theirs = anywhere.to_host(on_device.arena.values), on_cpu.arena.values
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


LORA = "rank=2,dropout=0.2,on=*.qkv.q+*.qkv.v+*.mlp,train=*.norm1"


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_adapters_learn_as_on_the_cpu(anywhere, name):
    on_cpu, on_device = Job(name, lora=LORA), Job(name, anywhere, lora=LORA)
    losses = np.array([[job.step() for _ in range(STEPS)] for job in (on_device, on_cpu)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert on_cpu.arena.num_frozen == on_device.arena.num_frozen > 0
    mine, theirs = anywhere.to_host(on_device.arena.values), on_cpu.arena.values
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_adapters_as_cuda_graphs(anywhere):
    graphs, eager = (Stepper(Job("llama", anywhere, lora=LORA), by_graphs) for by_graphs in (True, False))
    found, expected = ([stepper.step() for _ in range(STEPS)] for stepper in (graphs, eager))
    assert graphs.notes == []
    assert found == expected
    assert graphs.weights() == eager.weights()


def test_a_transformer_as_cuda_graphs(anywhere):
    """The bits of the eager steps; nothing in them calls cuBLAS, which CuPy refuses while work is captured."""
    graphs, eager = (Stepper(Job("transformer", anywhere), by_graphs) for by_graphs in (True, False))
    found, expected = ([stepper.step() for _ in range(STEPS)] for stepper in (graphs, eager))
    assert graphs.notes == []
    assert graphs.graphs.launched == STEPS - 2
    assert found == expected
    assert graphs.weights() == eager.weights()


@pytest.mark.parametrize(("precision", "rtol"), [("tf32", 5e-3), ("bf16", 5e-2)])
def test_a_transformer_in_lower_precision(precision, rtol):
    device = ShimDevice()
    device.precision = precision
    found, expected = ([job.step() for _ in range(2)] for job in (Job("transformer", device), Job("transformer")))
    np.testing.assert_allclose(found, expected, rtol=rtol)
    assert np.abs(np.array(found) - expected).max() > 1e-7
    assert not device.launches["gemm_simt"]


def test_a_steady_step_of_a_transformer(device):
    """No memory, one wait, and functions of CuPy only for copies and fills."""
    job = Job("transformer", device)
    job.step()
    job.step()
    with device.counted() as counts:
        job.step()
    assert counts["buffers"] == counts["temporaries"] == 0
    assert counts["syncs"] == 1
    residuals, embeddings = 4, 1
    assert counts["calls"] == 2 + residuals + embeddings, "the header, the sums; copies of dy; gradients cleared"
    assert counts["launches"]["attention_softmax"] == counts["launches"]["attention_softmax_dx"] == 2
