"""Tests that need a real GPU: pytest tests/gpu -m gpu, or scripts/test gpu."""

import time

import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.device import CPU, Im2colMap, TensorMap
from mpitrain.kernels.check import LAYOUTS, check_product, shapes
from mpitrain.kernels.gemm import INPUTS, TILES, Shape
from mpitrain.kernels.gemm_plan import STREAM, make_plan
from mpitrain.losses import MSE, SoftmaxCrossEntropy
from mpitrain.ops.cuda import matmul
from mpitrain.ops.cuda.matmul import multiply
from mpitrain.optim import LARS, SGD, AdamW
from mpitrain.training.scoring.evaluation import Evaluator
from tests.gpu.training.job import SHAPES, Job
from tests.gpu.training.test_graphs import Stepper

pytestmark = pytest.mark.gpu
STEPS = 10


@pytest.mark.parametrize("inputs", ["fp32", "tf32", "bf16"])
def test_products(cuda, inputs):
    wrong = [result for shape in shapes(inputs) if not (result := check_product(cuda, multiply, shape)).right]
    assert wrong == []


EVERY = [(tile, inputs) for tile in TILES for inputs in INPUTS[tile.kernel]]


@pytest.mark.parametrize(("tile", "inputs"), EVERY, ids=[f"{tile.name}-{inputs}" for tile, inputs in EVERY])
@pytest.mark.parametrize("splits", [1, 3])
def test_every_tile(cuda, monkeypatch, tile, inputs, splits):
    """Whatever the planner would take: several tiles each way, with edges, and K in parts."""
    shape = Shape(1, 1, 1, transpose_b=True, inputs=inputs)  # which tiles of all widths take
    if not tile.takes(shape, cuda.arch):  # as mma kernels below sm_80, wgmma off Hopper
        # that GPU has no such instructions, and the planner never takes the tile there
        pytest.skip(f"{tile.name} does not multiply {inputs} on {cuda.arch}")
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, tile, splits, processors))
    for transpose_a, transpose_b in LAYOUTS:
        shape = Shape(300, 530, 700, 1, transpose_a, transpose_b, inputs)
        assert check_product(cuda, multiply, shape).right, shape


@pytest.mark.parametrize("tile", [t for t in TILES if t.kernel == "gemm_wgmma"], ids=lambda tile: tile.name)
def test_every_tile_by_stream_k(cuda, monkeypatch, tile):
    """K is shared out as if 26 multiprocessors were all: parts, tails that shares cut, and whole tiles."""
    if cuda.arch != "sm_90a":  # the planner never takes these tiles elsewhere
        pytest.skip(f"{tile.name} does not multiply bf16 on {cuda.arch}")
    assert make_plan(Shape(300, 530, 1500, inputs="bf16"), tile, STREAM, 26).stream.shared
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, tile, STREAM, 26))
    for transpose_a, transpose_b in LAYOUTS:
        shape = Shape(300, 530, 1500, 1, transpose_a, transpose_b, "bf16")
        assert check_product(cuda, multiply, shape).right, shape


def test_squared_error(cuda):
    y, t = (np.random.default_rng(seed).standard_normal((3000, 7)).astype(np.float32) for seed in (0, 1))
    totals = MSE().forward(cuda.from_host(y), cuda.from_host(t), Context(device=cuda))
    np.testing.assert_allclose(cuda.to_host(totals), [y.size, ((np.float64(y) - t) ** 2).sum(), 0], rtol=1e-5)


def test_copies(cuda):
    """Pinned memory, a second stream, events, and what waits for what."""
    host, back = cuda.pinned_empty((1 << 20,)), cuda.pinned_empty((1 << 20,))
    host[:] = np.random.default_rng(0).standard_normal(host.size)
    array, other = cuda.empty(host.shape), cuda.stream()
    other.copy(array, host)
    arrived = other.record()
    cuda.compute.wait_for(arrived)
    np.multiply(array, 2, out=array)
    cuda.copy_to_host(back, array)
    done = cuda.compute.record()
    done.wait()
    assert done.done()
    assert arrived.done()
    np.testing.assert_array_equal(back, 2 * host)
    np.testing.assert_array_equal(cuda.to_host(cuda.from_host(host)), host)


def test_events_measure(cuda):
    array = cuda.zeros((1 << 26,))
    begin = time.perf_counter()
    before = cuda.compute.record(timed=True)
    for _ in range(10):
        array.fill(1)
    after = cuda.compute.record(timed=True)
    cuda.synchronize()
    assert 1e-5 < after.seconds_since(before) < time.perf_counter() - begin


def test_a_tensor_map_is_taken(cuda):
    if cuda.arch != "sm_90a" or cuda.xp is np:  # TMA came with Hopper, and the driver encodes its maps
        pytest.skip(f"no driver's tensor maps on {cuda.arch}")
    memory = cuda.empty((64 * 128,), np.uint16)
    assert cuda.tensor_map(TensorMap(memory.data.ptr, 2, (128, 64, 1), 256, 64 * 256, (64, 64))).nbytes == 128
    strides = 2 * 64, 2 * 64 * 8, 2 * 64 * 8 * 8
    windows = Im2colMap(memory.data.ptr, 2, (64, 8, 8, 2), strides, (64, 64), (-1, -1), (-1, -1), (2, 2))
    assert cuda.tensor_map(windows).nbytes == 128


@pytest.mark.parametrize("optimizer", [SGD, AdamW, LARS])
@pytest.mark.parametrize(
    ("name", "options"),
    [("mlp", {"widths": (64,), "dropout": 0.2}), ("convnet", {}), ("lenet", {}), ("resnet8", {}), ("transformer", {})],
)
def test_losses_are_the_cpus(cuda, name, options, optimizer):
    jobs = [Job(name, device, optimizer=optimizer, **options) for device in (cuda, CPU)]
    for job in jobs:
        job.lr = 0.003 if optimizer is AdamW else 0.1  # a rate of Adam's that does not blow rounding up
    losses = np.array([[job.step() for _ in range(STEPS)] for job in jobs])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [("mlp", {"widths": (64,), "dropout": 0.2}), ("convnet", {}), ("lenet", {}), ("resnet8", {}), ("transformer", {})],
)
def test_cuda_graphs(cuda, name, options):
    """The bits of the eager steps."""
    graphs, eager = (Stepper(Job(name, cuda, **options), by_graphs) for by_graphs in (True, False))
    found, expected = ([stepper.step() for _ in range(STEPS)] for stepper in (graphs, eager))
    assert found == expected
    assert graphs.weights() == eager.weights()
    assert graphs.notes == []
    assert graphs.graphs.launched == STEPS - 2


@pytest.mark.parametrize(("precision", "rtol"), [("tf32", 5e-3), ("bf16", 5e-2)])
def test_lower_precision(cuda, precision, rtol):
    cuda.precision = precision
    jobs = [Job("mlp", device, widths=(128,), batch=32) for device in (cuda, CPU)]
    losses = np.array([[job.step() for _ in range(STEPS)] for job in jobs])
    np.testing.assert_allclose(losses[0], losses[1], rtol=rtol)
    assert np.abs(losses[0] - losses[1]).max() > 1e-6


def test_smoothing_and_ignored_targets(cuda):
    jobs = [Job("mlp", d, loss=SoftmaxCrossEntropy(0.1, ignore_index=2), widths=(16,)) for d in (CPU, cuda)]
    np.testing.assert_allclose(jobs[1].step(), jobs[0].step(), rtol=1e-5)
    np.testing.assert_array_equal(jobs[1].arena.header[[0, 2]], jobs[0].arena.header[[0, 2]])


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_a_steady_step_takes_no_memory_from_the_driver(cuda, name):
    if cuda.xp is np:  # NumPy's arrays come from malloc
        pytest.skip("no memory pool in what stands for a GPU (test_training.py counts its allocations)")
    job = Job(name, cuda)
    for _ in range(3):
        job.step()
    pool = cuda.xp.get_default_memory_pool()
    before = pool.total_bytes()
    for _ in range(5):
        job.step()
    assert pool.total_bytes() == before


def test_evaluation(cuda):
    """The same outputs from the same weights."""
    x = np.random.default_rng(0).standard_normal((300, *SHAPES["convnet"])).astype(np.float32)
    found = []
    for device in (CPU, cuda):
        job = Job("convnet", device)
        evaluator = Evaluator(job.model, None, lambda part: part, device)
        found.append(np.concatenate([device.to_host(y).copy() for _, y in evaluator.outputs(x, slice(0, len(x)))]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4)
