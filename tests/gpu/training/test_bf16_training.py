"""Training with activations in bf16, on a device that stands for a GPU: losses, the copy of the weights, launches.

To first order a step along a gradient that is wrong by e of its length gains up to e less or more, whatever the model,
and e is at most 2^-4 (test_bf16_layers.py). So after some steps losses differ by at most 2^-4 of what the training
has gained, and by the rounding of the last outputs, 2^-7 of the loss. Through 20 layers with ReLU, normalized over six
small images, e is 0.29, as that of PyTorch's resnet20 in bf16 is on such images (0.29 to 0.37, by autocast too).
"""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.device import CPU, bfloat16, is_bf16
from mpitrain.device.weight_copy import WeightCopies
from mpitrain.generation import NextToken
from mpitrain.kernels.gemm import TILES
from mpitrain.kernels.gemm_plan import STREAM, make_plan
from mpitrain.kernels.planner import plan
from mpitrain.layers import Linear, Sequential
from mpitrain.ops.cuda import matmul
from mpitrain.ops.cuda.elements import bf16_of
from mpitrain.optim import LARS, SGD, Adagrad, Adam, AdamW
from mpitrain.training.checkpoint import Snapshot
from mpitrain.training.checkpoint.state import State
from tests.gpu.device import ShimDevice
from tests.gpu.training.job import OPTIONS, Job
from tests.gpu.training.test_graphs import Stepper, losses

STEPS = 4
OF_GRADIENT, OF_LOSS = 2**-4, 2**-7
OF_DEEP_GRADIENT = {"resnet20": 0.4}
CASTS = ("cast_rows", "pack_rows", "to_bf16", "to_fp32")
MODELS = [
    ("mlp", {"widths": (24,)}),
    ("mlp", {"widths": (17,), "dropout": 0.3, "activation": "gelu"}),
    ("resnet8", {}),
    ("gpt", OPTIONS["gpt"]),
    *(pytest.param(name, {}, marks=pytest.mark.exhaustive) for name in ("lenet", "resnet20")),
    *(pytest.param(name, OPTIONS[name], marks=pytest.mark.exhaustive) for name in ("llama", "bert", "vit", "dlrm")),
]


@pytest.fixture
def device():
    return in_bf16()


def in_bf16(arch="sm_80"):
    made = ShimDevice(arch)
    made.precision = "bf16"
    return made


def rounded(array):
    """Return the bits of fp32 numbers rounded to bf16."""
    return array.astype(bfloat16()).view(np.uint16)


def check_copy(arena):
    """See that the copy is that of the weights, without a refresh."""
    assert not arena.copy.stale
    np.testing.assert_array_equal(arena.copy.array.memory.view(np.uint16), rounded(arena.values.memory))


@pytest.mark.parametrize(("name", "options"), MODELS)
def test_losses_are_near_those_of_fp32(device, name, options):
    ours, exact = Job(name, device, **options), Job(name, **options)
    found, expected = (np.array([job.step() for _ in range(STEPS)]) for job in (ours, exact))
    gained = np.abs(np.diff(expected, prepend=expected[0])).cumsum()
    bound = OF_DEEP_GRADIENT.get(name, OF_GRADIENT) * gained + OF_LOSS * expected
    assert np.all(np.abs(found - expected) <= bound), (found, expected)
    assert np.abs(found - expected).max() > 0, "nothing was rounded"
    check_copy(ours.arena)
    assert is_bf16(ours.model.forward(ours.x, ours.ctx))


def test_gradients_of_weights_by_stream_k(monkeypatch):
    """On Hopper, K of the batch shared out to four blocks: losses as by other plans, and dw added for microbatches."""
    tile = next(tile for tile in TILES if tile.name == "wgmma_128x64_ping_pong")

    def shared_out(shape, arch, processors):
        return make_plan(shape, tile, STREAM, processors) if shape.transpose_a else plan(shape, arch, processors)

    runs = []
    for chosen in (plan, shared_out):
        monkeypatch.setattr(matmul, "plan", chosen)
        device = in_bf16("sm_90a")
        job = Job("mlp", device, batch=1200, microbatches=2, widths=(24,))
        runs.append([job.step() for _ in range(STEPS)])
        assert bool(device.launches["gemm_sum_stream"]) == (chosen is shared_out)
    np.testing.assert_allclose(*runs, rtol=1e-4)
    exact = Job("mlp", batch=1200, microbatches=2, widths=(24,))
    np.testing.assert_allclose(runs[1], [exact.step() for _ in range(STEPS)], rtol=OF_LOSS)


@pytest.mark.parametrize(
    ("name", "options"),
    [("mlp", {"dropout": 0.2, "activation": "gelu"}), ("mlp", {"optimizer": LARS}), ("convnet", {"width": 8})],
)
def test_a_steady_step_casts_the_samples_alone(device, name, options):
    job = Job(name, device, **options)
    job.step()
    job.step()
    with device.counted() as counts:
        job.step()
    assert {key: counts["launches"][key] for key in CASTS} == {**dict.fromkeys(CASTS, 0), "to_bf16": 1}
    assert counts["buffers"] == counts["temporaries"] == 0, "asked the device for memory"
    assert counts["calls"] == 2, "the header is cleared and the sums of the loss are added; all else is ours"
    assert counts["syncs"] == 1


@pytest.mark.parametrize(("name", "converted"), [("gpt", 0), ("vit", 1)])
def test_a_steady_step_of_a_transformer_casts_no_more(device, name, converted):
    """Attention keeps its scores out of memory, so none are rounded; tokens are no numbers."""
    job = Job(name, device, **OPTIONS[name])
    job.step()
    with device.counted() as counts:
        job.step()
    assert {key: counts["launches"][key] for key in CASTS} == {**dict.fromkeys(CASTS, 0), "to_bf16": converted}


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (SGD, {}),
        (SGD, {"momentum": 0.9, "nesterov": True}),
        *((each, {"weight_decay": 0.1}) for each in (SGD, Adam, AdamW, Adagrad, LARS)),
    ],
)
def test_masters_are_updated_as_without_a_copy(optimizer, options):
    """The same gradients give the same bits of fp32 weights, and the update writes the copy: no other launch."""
    weights, launches = [], []
    for make in (ShimDevice, in_bf16):
        device = make()  # arrays belong to the last one
        arena = Arena(Sequential(Linear(7, 5), Linear(300, 3), Linear(5, 1)), seed=1, device=device)
        made = optimizer(arena, **options)
        for step in range(3):
            rng = np.random.default_rng(step)
            arena.begin_step()
            arena.gradients[...] = device.from_host(rng.standard_normal(arena.size).astype(np.float32))
            with device.counted() as counts:
                made.step(0.1, 0.5)
            launches.append((dict(counts["launches"]), counts["calls"]))
        weights.append(device.to_host(arena.values))
        assert (arena.copy is None) == (device.precision == "fp32")
    np.testing.assert_array_equal(weights[0].view(np.uint32), weights[1].view(np.uint32))
    check_copy(arena)
    assert launches[:3] == launches[3:]


def test_an_optimizer_that_knows_of_no_copy(device):
    """The copy of the weights is made again before the next step, though the base of the class writes it."""

    class Plain(SGD):
        def update(self, block, lr, scale):
            np.subtract(block.w, block.grad * lr, out=block.w)

    job = Job("mlp", device, widths=(9,))
    job.optimizer = Plain(job.arena)
    job.step()
    assert job.arena.copy.stale
    job.arena.begin_step()
    check_copy(job.arena)


def change_by_put(job):
    p = job.arena.parameters[0]
    job.arena.put(p.name, np.full(p.full_shape, 3, np.float32))


def change_by_snapshot(job):
    snapshot = Snapshot(State(job.arena, job.optimizer))
    job.step()
    snapshot.restore()


def change_by_move(job):
    arena, device = job.arena, job.device
    arena.move(device.from_host(2 * device.to_host(arena.values)), device.zeros((arena.size,)))


@pytest.mark.parametrize("change", [change_by_put, change_by_snapshot, change_by_move])
def test_products_read_changed_weights(device, change):
    """Also before a step begins, as in an evaluation."""
    job = Job("mlp", device, widths=(9,))
    job.step()
    change(job)
    found = device.to_host(job.model.forward(job.x, job.ctx))
    check_copy(job.arena)
    other = Job("mlp", in_bf16(), widths=(9,))
    other.arena.values[...] = other.device.from_host(device.to_host(job.arena.values))
    other.arena.values_changed()
    np.testing.assert_array_equal(found, other.device.to_host(other.model.forward(other.x, other.ctx)))


def test_the_copy_of_weights_that_are_not_contiguous(device):
    arena = Arena(Linear(6, 5), seed=1, device=device)
    for part in (arena.named_tensors()["weight"], arena.named_tensors()["weight"].T):
        found = bf16_of(part, "weights")
        np.testing.assert_array_equal(device.to_host(found), device.to_host(part).astype(bfloat16()).astype(np.float32))


def test_an_arena_that_is_gone_has_no_copy(device):
    """Its memory may hold anything else by then."""
    copies = WeightCopies()
    weights = device.from_host(np.arange(32, dtype=np.float32))
    copy = copies.make(device, weights)
    assert copies.find(weights[3:8]) is copy
    assert device.to_host(copy.view_of(weights[3:8])).tolist() == [3, 4, 5, 6, 7]
    assert copies.find(device.zeros((4,))) is None
    del copy
    assert copies.find(weights) is None


@pytest.mark.parametrize("optimizer", [AdamW, LARS])
@pytest.mark.parametrize(
    ("name", "options"), [("mlp", {"widths": (17,), "dropout": 0.3}), ("convnet", {"width": 8, "channels": (4, 5)})]
)
def test_graphs_have_the_bits_of_eager_steps(device, name, options, optimizer):
    graphs, eager = (Stepper(Job(name, device, optimizer=optimizer, **options), g) for g in (True, False))
    found = losses(graphs)
    assert found == losses(eager)
    assert graphs.weights() == eager.weights()
    assert graphs.graphs.launched > 0
    for one in (graphs, eager):  # as after a checkpoint was loaded: a graph reads the copy, which is made again before
        change_by_put(one.job)
    assert losses(graphs, 2) == losses(eager, 2)
    assert graphs.notes == []


@pytest.mark.parametrize("width", [10, 16])
def test_rows_that_the_copy_engine_cannot_read(width):
    """On Hopper, factors in bf16 whose rows are no whole 16 bytes are packed first; others are read where they lie."""
    from mpitrain.ops.cuda.matmul import multiply

    rng, device = np.random.default_rng(0), in_bf16("sm_90a")
    a, b = (rng.standard_normal(shape).astype(bfloat16()) for shape in ((256, 64), (64, width)))
    out = device.empty((256, width), bfloat16())
    multiply(device.from_host(a), device.from_host(b), out)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(device.to_host(out), expected, rtol=2**-7, atol=2**-7)
    if device.launches["gemm_wgmma"]:
        assert device.launches["pack_rows"] == (width % 8 > 0)
    assert device.launches["cast_rows"] == 0


def test_generation(device):
    predict = []
    for where in (CPU, device):
        model = models.build("gpt:depth=2,width=16,heads=2", (12,), 11)
        Arena(model, seed=0, device=where)
        predict.append(NextToken(model, window=8, device=where))
    for length in (1, 2, 5, 9):
        tokens = list(range(length))
        expected, found = (each(tokens).copy() for each in predict)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2**-6 * np.abs(expected).max())
        assert np.any(found.astype(bfloat16()) != found), "logits were rounded"
