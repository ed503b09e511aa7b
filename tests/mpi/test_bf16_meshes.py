"""Activations in bf16 where ranks divide a model or its samples: sums over ranks to the bit, runs beside one rank's.

A run on a mesh rounds in other places than one rank does: the parts of a product before they are summed, and results
that the rank would have kept in registers. Its losses are within 2^-9 of those of one rank in bf16; its outputs after
it, and its changes of weights, as any in bf16 (tests/gpu/training/test_bf16_training.py), within 2^-4 of their length
of those in fp32, or of one rank's in bf16, where that has sent a token to another expert.
"""

import math

import numpy as np
import pytest

from mpitrain import Trainer, head_loss
from mpitrain.comm.schedule.staging import HOST, HostStaging
from mpitrain.context import Context
from mpitrain.device import CPU, bfloat16, is_bf16
from mpitrain.ops.cuda.elementwise import combine
from mpitrain.parallel.moves import Copy, Halo, ReduceScatter, Sum
from mpitrain.parallel.moves.exchange import MOST_WHOLE
from mpitrain.training.devices import use_device
from tests.bf16_predicted import sum_bytes
from tests.fake_nccl import give_nccl
from tests.gpu.device import ShimDevice
from tests.gpu.opened import Opened
from tests.images import write_images
from tests.kernels import cpu
from tests.trainings import Losses, saved

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

OF_GRADIENT, OF_LOSS = 2**-4, 2**-9
LONG = MOST_WHOLE // 2 + 19  # elements of an array that the owners of its parts sum, if there are more than two ranks


@pytest.fixture(autouse=True)
def _several(world):
    if world.size == 1:
        pytest.skip("one rank has no mesh")


@pytest.fixture
def moved(world):
    """A device in bf16 and a group whose messages are those of its arrays."""
    device, group = ShimDevice(), world.group("tensor")
    device.precision = "bf16"
    group.use_staging(HostStaging(device, combine))
    yield device, group
    group.use_staging(HOST)


def in_bf16(world, shape, rank):
    return np.random.default_rng([*shape, rank]).standard_normal(shape).astype(bfloat16())


def sum_of_ranks(world, shape):
    """Return the sum in fp32 in the order of the ranks, rounded once."""
    total = np.zeros(shape, np.float32)
    for rank in range(world.size):
        total += in_bf16(world, shape, rank).astype(np.float32)
    return total.astype(bfloat16()).astype(np.float32)


@pytest.mark.parametrize("shape", [(1,), (7, 5), (LONG,), (3, 11, 2077)])
def test_sums_are_rounded_once(world, moved, shape):
    """To the bit, on all ranks, in as many bytes as predicted; forward of Sum, backward of Copy."""
    device, group = moved
    ctx, x, sent = Context(device=device), device.from_host(in_bf16(world, shape, world.rank)), []
    for move, run in ((Sum(group), "forward"), (Copy(group), "backward")):
        found = getattr(move, run)(x, ctx)
        assert is_bf16(found)
        np.testing.assert_array_equal(device.to_host(found), sum_of_ranks(world, shape))
        sent.append(move.exchange.bytes_sent)
        move.free()
    whole, predicted = Sum(group, "ring"), sum_bytes(world.size, x.size)
    whole.forward(device.from_host(np.zeros(shape, np.float32)), ctx)
    assert whole.exchange.bytes_sent == pytest.approx(predicted[0], abs=64 * world.size)
    assert sent[0] == pytest.approx(predicted[1], abs=64 * world.size)
    whole.free()


@pytest.mark.parametrize("dim", [0, 1])
def test_parts_of_sums_are_rounded_once(world, moved, dim):
    device, group = moved
    shape = (2 * world.size + 1, 3 * world.size + 2)
    move, ctx = ReduceScatter(group, dim, shape[dim]), Context(device=device)
    found = move.forward(device.from_host(in_bf16(world, shape, world.rank)), ctx)
    expected = np.split(sum_of_ranks(world, shape), np.cumsum(_lengths(shape[dim], world.size))[:-1], axis=dim)
    np.testing.assert_array_equal(device.to_host(found), expected[world.rank])
    move.free()


def _lengths(length, size):
    return [length // size + (rank < length % size) for rank in range(size)]


def test_rows_of_neighbors_are_bf16(world, moved):
    device, group = moved
    x, ctx = in_bf16(world, (2, 3 * world.size, 4), 0), Context(device=device)
    move, own = Halo(group, 1, 3 * world.size), slice(3 * world.rank, 3 * world.rank + 3)
    found = move.forward(device.from_host(np.ascontiguousarray(x[:, own])), ctx)
    assert is_bf16(found)
    padded = np.pad(x.astype(np.float32), ((0, 0), (1, 1), (0, 0)))
    np.testing.assert_array_equal(device.to_host(found), padded[:, own.start : own.stop + 2])
    move.free()


@pytest.fixture
def gpu(world, alone, monkeypatch):
    yield Opened(monkeypatch)
    for ranks in (world, alone):
        use_device(CPU, ranks)


GPT, LLAMA = "gpt:depth=1,width=32,heads=4", "llama:depth=1,width=48,heads=6,kv_heads=2,hidden=40"
MLP, CONVNET = "mlp:widths=24+20+16,activation=gelu", "convnet:channels=4+8,width=64"
RUNS = {  # axis, model, options
    "layers": ("pipe", MLP, {}),
    "layers, by NCCL": ("pipe", MLP, {"channel": "nccl"}),
    "layers of tokens": ("pipe", GPT, {}),
    "features": ("tensor", MLP, {}),
    "channels": ("tensor", CONVNET, {}),
    "heads": ("tensor", GPT, {}),
    "heads, and tokens between them": ("tensor", GPT, {"sequence_parallel": True}),
    "vocabulary": ("tensor", GPT, {}),
    "tokens, heads in attention": ("context", GPT, {"context": "ulysses"}),
    "tokens, heads that share keys": ("context", LLAMA, {"context": "ulysses"}),
    "tokens, keys go round": ("context", LLAMA, {"context": "ring"}),
    "rows of images": ("space", CONVNET, {}),
    "experts": ("expert", "gpt:depth=1,width=32,heads=4,experts=4,top_k=2", {}),
}
COMMON = {"steps": 2, "progress": "none", "shard": "none", "check_every": 0, "lr": 0.05}


@pytest.fixture(scope="module")
def sources(world, tmp_path_factory):
    """Small data, so that an epoch with its evaluation is short."""
    path = world.all_gather(tmp_path_factory.mktemp("text"))[0] / "some.txt"
    if world.rank == 0:
        path.write_text("one fish, two fish, red fish, blue fish: " * 5)
    return {"images": write_images(world, tmp_path_factory, channels=1), "text": f"text:{path},window=8"}


def train(ranks, model, source, path, **options):
    """Return the losses, the weights, the test scores and some outputs of a trainer."""
    losses = Losses()
    samples = 8 if "heads" in model else 38  # of few, one number at the kink of a ReLU is much of a gradient
    trainer = Trainer(model, source, hooks=[losses], world=ranks, batch_size=samples, **COMMON | options)
    result = trainer.fit()
    outputs = trainer.outputs(trainer.setup.dataset.test.x[:5])
    return losses.values, saved(trainer, path), result.test, outputs


def distance(one, other):
    return math.sqrt(sum(np.square(one[key] - other[key], dtype=np.float64).sum() for key in one))


ALONE = {}


def of_one_rank(alone, model, source, path):
    """Return the results of runs that change nothing, in fp32, and in bf16."""
    key = model, source, head_loss.LARGE
    if key not in ALONE:
        how = alone, model, source, path
        first, exact = (train(*how, device="cpu", lr=lr) for lr in (1e-30, COMMON["lr"]))
        ALONE[key] = first, exact, train(*how, precision="bf16")
    return ALONE[key]


@pytest.mark.parametrize("name", RUNS)
def test_runs_are_near_those_of_one_rank(world, alone, gpu, monkeypatch, directory, sources, name):
    axis, model, options = RUNS[name]
    if name == "vocabulary":
        monkeypatch.setattr(head_loss, "LARGE", 128)
    if "NCCL" in name:
        give_nccl(monkeypatch, world)
    how = model, sources["text" if "heads" in model else "images"]
    (_, first, _, _), (_, exact, _, outputs), (expected, rounded, wanted, _) = of_one_rank(
        alone, *how, directory / f"one{world.rank}.safetensors"
    )
    mesh = {"mesh": f"{axis}={world.size}", **options}
    found, weights, test, others = train(world, *how, directory / "mesh.safetensors", precision="bf16", **mesh)
    assert gpu.device.activation_dtype == bfloat16()
    np.testing.assert_allclose(found, expected, rtol=OF_LOSS, err_msg=name)
    assert test["loss"] == pytest.approx(wanted["loss"], rel=OF_LOSS)
    assert np.linalg.norm(others - outputs) <= OF_GRADIENT * np.linalg.norm(outputs)
    moved, *apart = (distance(*pair) for pair in ((exact, first), (weights, exact), (weights, rounded)))
    assert min(apart) <= OF_GRADIENT * moved, (apart, moved)
    assert not any("stay in fp32" in note for note in world.notes)
