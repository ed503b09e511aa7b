"""Attention on Hopper as ops, on what stands for such a GPU: which launches are made, and against NumPy in float64."""

import numpy as np
import pytest

from mpitrain.device import CPU, bfloat16
from mpitrain.kernels.attention_wgmma import HEADS
from mpitrain.ops.attention import Block
from mpitrain.ops.cuda import attention as path
from mpitrain.ops.dropout import Masks
from tests.gpu.device import ShimDevice
from tests.gpu.ops.test_attention import Inputs
from tests.gpu.training.job import Job

TOLERANCE = 2.5e-2
BACKWARD = {"attention_wgmma_dkv": 1, "attention_wgmma_dq": 1}


def inputs_of(*sizes, arch="sm_90a", dtype=bfloat16, **how):
    """Return inputs of ``sizes`` (N, H, S, T, D) in packed rows of bf16."""
    device = ShimDevice(arch)
    device.precision = "bf16"
    return device, Inputs(device, sizes, how.pop("layout", "packed"), dtype=dtype(), **how)


@pytest.mark.parametrize("seed", range(6))
def test_random_inputs(seed):
    """Sizes, masks and layouts; without y its sums with dy need it once more."""
    rng = np.random.default_rng(seed)
    n, h, s, t = (int(rng.integers(least, most)) for least, most in ((1, 3), (1, 3), (20, 200), (1, 300)))
    group, size, lengths, segments = int(rng.integers(1, 3)), (64, 128)[seed % 2], None, None
    if seed % 3 == 0:
        lengths = rng.integers(0, t + 3, n)
    if seed > 3:
        t = max(s, t)
        segments = np.cumsum(rng.random((n, t)) < 0.02, axis=1) - 2
    device, inputs = inputs_of(
        *(n, h * group, s, t, size), causal=seed % 4 < 2, lengths=lengths, seed=seed, segments=segments, group=group
    )
    with device.counted() as counts:
        inputs.run()
    assert counts["launches"] == {"attention_wgmma": 2, "attention_delta": 1, **BACKWARD}
    inputs.check(TOLERANCE)


def test_a_block_of_longer_rows():
    """As ring attention has it: delta is given, and no kernel computes it."""
    delta = np.random.default_rng(0).standard_normal((1, 2, 90)).astype(np.float32)
    device, inputs = inputs_of(1, 2, 90, 140, 64, causal=True, block=Block(100, 30, 250, 3, 9), delta=delta)
    with device.counted() as counts:
        inputs.run()
    assert counts["launches"] == {"attention_wgmma": 1, **BACKWARD}
    inputs.check(TOLERANCE)


def test_nothing_beside_results_and_sums_in_memory():
    """Views of packed rows are not copied; a steady pass asks for no memory and waits for nothing."""
    n, h, s = 2, 3, 200
    device, inputs = inputs_of(n, h, s, s, 64, causal=True)
    before = device.workspace_bytes
    for steady in (False, True):
        with device.counted() as counts:
            assert path.attention(*inputs.forward)
            assert path.attention_dx(*inputs.backward, inputs.results[0])
        assert counts["launches"] == {"attention_wgmma": 1, "attention_delta": 1, **BACKWARD}
        assert not steady or counts["buffers"] == counts["temporaries"] == counts["calls"] == counts["syncs"] == 0
    assert device.workspace_bytes - before <= 4 * n * h * s
    inputs.check(TOLERANCE)


@pytest.mark.parametrize(
    ("sizes", "how"),
    [
        ((1, 1, 20, 9, 64), {"arch": "sm_80"}),
        ((1, 1, 20, 9, 64), {"arch": "sm_100a"}),
        ((1, 1, 20, 9, 40), {}),
        ((1, 1, 20, 9, 64), {"dropout": Masks(0.4, (1, 2, 3, 4))}),
        ((1, 1, 20, 9, 64), {"dtype": lambda: np.dtype(np.float32)}),
    ],
)
def test_what_other_kernels_do(sizes, how):
    device, inputs = inputs_of(*sizes, **how)
    inputs.run()
    assert not [name for name in device.launches if "wgmma" in name]
    inputs.check(TOLERANCE)


def test_rows_off_alignment_are_left_to_other_kernels():
    """A tensor map describes multiples of 16 bytes."""
    device, inputs = inputs_of(1, 1, 20, 9, 64)
    q, *others = inputs.forward
    moved = device.from_host(np.zeros(q.size + 4, bfloat16()))[4:].reshape(1, 20, 1, 64).transpose(0, 2, 1, 3)
    moved[...] = q
    assert path.attention(moved, *others)
    assert not device.launches["attention_wgmma"]
    assert path.attention(q, *others)
    assert device.launches["attention_wgmma"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", HEADS)
def test_sizes_of_heads(size):
    device, inputs = inputs_of(2, 2, 140, 150, size, causal=True)
    inputs.run()
    assert device.launches["attention_wgmma"]
    inputs.check(TOLERANCE)


def test_the_same_bits_every_time():
    found = []
    for _ in range(2):
        device, inputs = inputs_of(1, 4, 140, 140, 64, causal=True, group=2)
        inputs.run()
        found.append([device.to_host(x).tobytes() for x in inputs.results])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_training_has_the_losses_of_the_cpu(name):
    """To the rounding of products; y is kept for backward, and llama's heads share keys and values."""
    device = ShimDevice("sm_90a")
    device.precision = "bf16"
    on_cpu, on_device = (Job(name, d, width=64) for d in (CPU, device))
    losses = [[job.step() for _ in range(3)] for job in (on_device, on_cpu)]
    launched = {kind: count for kind, count in device.launches.items() if kind.startswith("attention")}
    assert launched == dict.fromkeys(("attention_wgmma", "attention_delta", *BACKWARD), 3 * 2)
    np.testing.assert_allclose(*losses, rtol=1e-2)
