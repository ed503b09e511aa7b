"""Attention of few queries, for generation, against NumPy in float64: fp32 and bf16."""

import numpy as np
import pytest

from mpitrain.device import bfloat16
from mpitrain.kernels.attention import FEW, LEAST_KEYS, decoding
from mpitrain.key_value_cache import KeyValueCache
from mpitrain.ops.attention import Block
from mpitrain.ops.cuda import attention as path
from tests.gpu.device import ShimDevice
from tests.gpu.ops.test_attention import Inputs

TYPES = {"fp32": (np.float32, 1e-5), "bf16": (bfloat16, 1.2e-2)}
by_type = pytest.mark.parametrize("name", TYPES)
CASES = {  # sizes, group, causal, lengths
    "the next token": ((1, 2, 1, 700, 64), 1, True, None),
    "the first token": ((1, 2, 1, 1, 64), 1, True, None),
    "a group of four heads": ((2, 4, 1, 300, 32), 4, True, None),
    "all heads share": ((1, 6, 3, 530, 80), 6, True, None),
    "few tokens": ((2, 2, 4, 257, 128), 1, True, None),
    "lengths": ((3, 2, 2, 400, 24), 2, False, (0, 400, 130)),
    "no part that is whole": ((1, 1, 1, 129, 7), 1, True, None),
}


def run(inputs, tolerance):
    assert path.attention(*inputs.forward)
    expected = inputs.expected()
    for found, oracle in zip(inputs.results[:2], expected[:2], strict=True):
        near = inputs.device.to_host(found).astype(np.float64)
        np.testing.assert_allclose(near, oracle, rtol=0, atol=tolerance * 4, err_msg=str(inputs.seed))


@by_type
@pytest.mark.parametrize("layout", ["plain", "packed"])
@pytest.mark.parametrize("case", CASES)
def test_decoding(anywhere, name, case, layout):
    device, (dtype, tolerance) = anywhere, TYPES[name]
    sizes, group, causal, lengths = CASES[case]
    dtype = dtype() if dtype is bfloat16 else dtype
    inputs = Inputs(device, sizes, layout, causal, lengths, 3, group=group, dtype=dtype)
    run(inputs, tolerance)
    if not isinstance(device, ShimDevice):
        return
    with device.counted() as counts:
        run(inputs, tolerance)
    assert counts["buffers"] == counts["temporaries"] == counts["calls"] == 0
    merges = {"attention_merge": 1} if sizes[3] >= 2 * LEAST_KEYS else {}
    assert counts["launches"] == {"attention_decode": 1, **merges}


@pytest.mark.parametrize("seed", range(4))
def test_blocks_and_segments(anywhere, seed):
    rng = np.random.default_rng(seed)
    device, length = anywhere, 400
    segments = np.cumsum(rng.random((2, length)) < 0.02, axis=1) if seed % 2 else None
    block = Block(int(rng.integers(length - 3)), int(rng.integers(100)), length, 0, 4)
    sizes, causal = (2, 4, int(rng.integers(1, FEW)), 290, 16), seed > 1
    run(Inputs(device, sizes, "packed", causal, None, seed, segments, 2, None, block), 1e-5)


def test_a_cache_is_read_where_it_lies():
    """A view of memory with room for more tokens; and no other keys count."""
    device, cache = ShimDevice(), KeyValueCache()
    inputs = Inputs(device, (1, 4, 1, 70, 16), causal=True, group=2)
    q, k, v, y, *rest = inputs.forward
    k, v = (cache.append(inputs, name, x) for name, x in (("k", k), ("v", v)))
    assert k.strides[1] > 70 * k.strides[2]
    with device.counted() as counts:
        assert path.attention(q, k, v, y, *rest)
    assert counts["buffers"] == counts["calls"] == 0
    np.testing.assert_allclose(device.to_host(y), inputs.expected()[0], atol=1e-5)


def test_the_same_bits_every_time():
    found = []
    for _ in range(2):
        inputs = Inputs(ShimDevice(), (1, 4, 2, 600, 32), "packed", causal=True, group=2)
        assert path.attention(*inputs.forward)
        found.append([inputs.device.to_host(x).tobytes() for x in inputs.results[:2]])
    assert found[0] == found[1]


@pytest.mark.parametrize("num_keys", [1, 127, 128, 255, 256, 100_000])
def test_parts_cover_the_keys(num_keys):
    for rows, matrices, size in ((1, 1, 64), (4, 8, 128), (64, 1000, 32)):
        plan = decoding(rows, matrices, num_keys, size, True, 132)
        assert (plan.parts - 1) * plan.keys_of_part < num_keys <= plan.parts * plan.keys_of_part
        assert plan.blocks % plan.parts == 0
