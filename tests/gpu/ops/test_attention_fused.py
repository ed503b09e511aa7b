"""Attention by the fused kernels, as ops, against NumPy in float64: in tf32, and on arrays of bf16."""

import numpy as np
import pytest

from mpitrain.device import CPU, bfloat16
from mpitrain.kernels.attention import DKDV_KERNELS, DQ_KERNELS, FEW, FORWARD_KERNELS, HEADS, choose
from mpitrain.kernels.plan import shared_bytes_limit
from mpitrain.ops.attention import Block
from mpitrain.ops.cuda import attention as path
from mpitrain.ops.dropout import Masks
from tests.gpu.device import ShimDevice
from tests.gpu.ops.test_attention import EDGES, Inputs
from tests.gpu.training.job import Job

TYPES = {"tf32": (np.float32, 4e-3), "bf16": (bfloat16, 2.5e-2)}
FUSED = {"attention_mma": 1, "attention_delta": 1, "attention_mma_dq": 1, "attention_mma_dkdv": 1}
by_type = pytest.mark.parametrize("name", TYPES)


def prepare(name, device=None):
    """Return a device, the type of its arrays, and the bound on errors."""
    device = device or ShimDevice()
    device.precision = name
    dtype, tolerance = TYPES[name]
    return device, dtype() if dtype is bfloat16 else dtype, tolerance


def run(inputs):
    """Run both ops; return the launches, which only what stands for a GPU counts."""
    if not isinstance(inputs.device, ShimDevice):
        inputs.run()
        return None
    with inputs.device.counted() as counts:
        inputs.run()
    return counts["launches"]


@by_type
@pytest.mark.parametrize("edge", EDGES)
def test_edges(anywhere, name, edge):
    device, dtype, tolerance = prepare(name, anywhere)
    inputs = Inputs(device, *EDGES[edge], dtype=dtype)
    inputs.run()
    inputs.check(tolerance)


@by_type
@pytest.mark.parametrize("seed", range(6))
def test_random_inputs(anywhere, name, seed):
    """Sizes of heads, layouts and masks; without y and delta y is computed again."""
    rng = np.random.default_rng(seed)
    device, dtype, tolerance = prepare(name, anywhere)
    n, h, s, t = (int(rng.integers(*range_)) for range_ in ((1, 4), (1, 3), (FEW + 1, 150), (FEW + 1, 150)))
    d, group, lengths, segments = int(rng.integers(1, 33)), int(rng.integers(1, 4)), None, None
    if seed % 2:
        lengths = rng.integers(0, t + 3, n)
    if seed > 2:
        s, segments = min(s, t), np.cumsum(rng.random((n, t)) < 0.1, axis=1) - 2
    dropout = Masks(0.4, (seed, 3, 2**35, 2**33)) if seed % 3 == 0 else None
    sizes, layout = (n, h * group, s, t, d), ("packed", "plain")[seed % 2]
    inputs = Inputs(device, sizes, layout, seed % 4 < 2, lengths, seed, segments, group, dropout, dtype=dtype)
    assert run(inputs) in (None, {**FUSED, "attention_mma": 2})
    inputs.check(tolerance)


@by_type
@pytest.mark.parametrize("seed", range(4))
def test_blocks_of_longer_rows(anywhere, name, seed):
    """As ring attention has them: delta and log_sum_exp are those of more keys."""
    rng = np.random.default_rng(seed)
    device, dtype, tolerance = prepare(name, anywhere)
    n, h, s, t = (int(rng.integers(1, most)) for most in (3, 4, 90, 90))
    length = max(s, t) + int(rng.integers(4, 40))
    block = Block(int(rng.integers(length - s + 1)), int(rng.integers(length - t + 1)), length, 3, h + 5)
    segments = np.cumsum(rng.random((n, length)) < 0.1, axis=1) - 2 if seed == 1 else None
    dropout = None
    if seed > 1:
        dropout = Masks(0.4, (seed, 3, 7, 9), device.from_host(np.array([8, 13], np.int64)))
    delta = rng.standard_normal((n, h, s)).astype(np.float32)
    inputs = Inputs(
        device, (n, h, s, t, 16), "packed", seed < 3, None, seed, segments, 1, dropout, block, delta, dtype=dtype
    )
    assert "attention_delta" not in (run(inputs) or {})
    inputs.check(tolerance)


@by_type
def test_delta_is_that_of_these_keys(name):
    """Without delta it is the sum of p dp over the keys given, though log_sum_exp is of more."""
    device, dtype, tolerance = prepare(name)
    inputs = Inputs(device, (2, 2, 20, 30, 16), "packed", causal=True, dtype=dtype)
    assert path.attention(*inputs.forward)
    inputs.log_sum_exp.memory[...] += 0.7
    found = inputs.results
    assert path.attention_dx(*inputs.backward)
    q, k, v, dy = (x.astype(np.float64) for x in inputs.wide)
    p = np.exp(q @ k.swapaxes(2, 3) / 4 - device.to_host(inputs.log_sum_exp)[..., None])
    p[..., np.arange(30) > np.arange(20)[:, None] + 10] = 0
    dp = dy @ v.swapaxes(2, 3)
    ds = p * (dp - (p * dp).sum(axis=3, keepdims=True)) / 4
    for x, expected in zip(found[2:], (ds @ k, ds.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ dy), strict=True):
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(device.to_host(x).astype(np.float64), expected, atol=tolerance * scale, rtol=0)


@by_type
def test_no_scores_in_memory(name):
    """Working memory has one number for each query, the sums of y dy; y is read where forward has written it."""
    device, dtype, tolerance = prepare(name)
    n, h, s = 2, 3, 200
    inputs = Inputs(device, (n, h, s, s, 8), "packed", causal=True, dtype=dtype)
    before = device.workspace_bytes
    with device.counted() as counts:
        assert path.attention(*inputs.forward)
        assert device.workspace_bytes == before
        assert path.attention_dx(*inputs.backward, inputs.results[0])
    assert device.workspace_bytes - before <= 4 * n * h * s
    assert counts["launches"] == FUSED
    inputs.check(tolerance)
    with device.counted() as counts:
        assert path.attention_dx(*inputs.backward, inputs.results[0])
    assert counts["buffers"] == counts["temporaries"] == counts["calls"] == counts["syncs"] == 0


@by_type
def test_the_same_bits_every_time(anywhere, name):
    found = []
    for _ in range(2):
        device, dtype, _ = prepare(name, anywhere)
        inputs = Inputs(device, (1, 4, 140, 140, 16), "packed", causal=True, group=2, dtype=dtype)
        inputs.run()
        found.append([device.to_host(x).tobytes() for x in inputs.results])
    assert found[0] == found[1]


@by_type
def test_hidden_keys_do_not_count(anywhere, name):
    found = []
    for contents in (0.0, 1e4):
        device, dtype, _ = prepare(name, anywhere)
        inputs = Inputs(device, (2, 2, 5, 8, 4), lengths=(3, 0), dtype=dtype)
        for array in inputs.forward[1:3]:
            array[0, :, 3:] = contents
            array[1] = contents
        inputs.run()
        found.append([device.to_host(x).astype(np.float32) for x in inputs.results])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    y, log_sum_exp, _, dk, dv = found[0]
    assert not y[1].any()
    assert (log_sum_exp[1] == -np.inf).all()
    assert not dk[0, :, 3:].any()
    assert not dv[0, :, 3:].any()


def test_what_the_fused_kernels_leave_to_products():
    device, _, _ = prepare("tf32")
    for sizes, layout, scale in (
        ((1, 1, 5, 5, 130), "plain", 1.0),
        ((1, 1, 5, 5, 8), "turned", 1.0),
        ((1, 1, 5, 5, 8), "plain", -1.0),
    ):
        inputs = Inputs(device, sizes, layout)
        with device.counted() as counts:
            assert path.attention(*inputs.forward[:5], scale, *inputs.forward[6:])
        assert counts["launches"]["gemm_mma"]
    with ShimDevice("sm_75").counted() as counts:
        inputs = Inputs(ShimDevice("sm_75"), (1, 1, 5, 5, 8))
        inputs.run()
        inputs.check()


@by_type
@pytest.mark.parametrize("options", [{"dropout": 0.2}, {}])
def test_training_of_gpt_has_the_losses_of_the_cpu(name, options):
    """To the rounding of products."""
    device, _, _ = prepare(name)
    on_cpu, on_device = (Job("gpt", d, **options) for d in (CPU, device))
    losses = [[job.step() for _ in range(3)] for job in (on_device, on_cpu)]
    assert not device.launches["attention_softmax"]
    assert device.launches["attention_mma_dkdv"] == 3 * 2
    assert device.launches["attention_mma"] == 3 * 2, "y is not computed again"
    np.testing.assert_allclose(*losses, rtol={"tf32": 1e-3, "bf16": 1e-2}[name])


@pytest.mark.parametrize("arch", ["sm_80", "sm_86", "sm_90a", "sm_120a"])
def test_choice(arch):
    """Every size of heads has its kernels where shared memory suffices; none is larger than that."""
    limit = shared_bytes_limit(int(arch[3:].removesuffix("a")))
    missing = []
    for families in (FORWARD_KERNELS, DQ_KERNELS, DKDV_KERNELS):
        for size in (1, *HEADS, 65, 127):
            for bf16 in (False, True):
                for drops in (False, True):
                    chosen = choose(families, arch, size, bf16, drops)
                    if chosen is None:
                        missing.append((size, bf16))
                        continue
                    assert chosen.tile.head >= size
                    assert chosen.tile.shared_bytes <= limit
    assert not [each for each in missing if each[1] or each[0] <= 80]
    assert not missing or arch in ("sm_86", "sm_120a")
    assert choose(FORWARD_KERNELS, "sm_75", 64, True, False) is None
