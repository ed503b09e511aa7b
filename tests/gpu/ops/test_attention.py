"""Attention and softmax as ops, on what stands for a GPU and, with -m gpu, on a GPU, against NumPy in float64."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from mpitrain.ops.attention import Block
from mpitrain.ops.cuda import attention as path
from mpitrain.ops.cuda import softmax as rows
from mpitrain.ops.dropout import Masks
from tests.gpu.device import ShimDevice

RESULTS = ("y", "log_sum_exp", "dq", "dk", "dv")


class Inputs:
    """Random q, k, v and dy, on a device and in float64, with room for the results.

    Parameters
    ----------
    sizes : (N, H, S, T, D)
    group : int
        H / Hk.
    dtype : numpy dtype
        Of all but the statistics.
    layout : str
        "packed": heads are parts of the rows (N, T, 3 C) of a linear layer; "turned": rows are not contiguous.
    """

    def __init__(
        self,
        device,
        sizes,
        layout="plain",
        causal=False,
        lengths=None,
        seed=0,
        segments=None,
        group=1,
        dropout=None,
        block=None,
        delta=None,
        dtype=np.float32,
    ):
        self.device, self.seed = device, seed
        n, h, s, t, d = sizes
        rng = np.random.default_rng(seed)
        shapes = [(n, heads, length, d) for heads, length in ((h, s), (h // group, t), (h // group, t), (h, s))]
        self.wide = [rng.standard_normal(shape).astype(np.float32).astype(dtype) for shape in shapes]
        q, k, v, dy = (place(device, x, layout) for x in self.wide)
        shapes = [self.wide[i].shape for i in (0, 0, 1, 2)]
        y, dq, dk, dv = (place(device, np.full(shape, np.nan, dtype), layout) for shape in shapes)
        self.log_sum_exp = device.empty((n, h, s))
        masks = [None if mask is None else np.array(mask, np.int64) for mask in (lengths, segments)]
        self.wide_how = 1 / np.sqrt(max(1, d)), causal, *masks
        self.how = *self.wide_how[:2], *(None if mask is None else device.from_host(mask) for mask in masks), dropout
        if dropout is not None and dropout.counters is not None:  # in which NumPy finds step and first
            step, first = device.to_host(dropout.counters).tolist()
            dropout = Masks(dropout.p, (*dropout.position[:2], step, first))
        self.wide_how = *self.wide_how, dropout, block
        self.delta, self.how = delta, (*self.how, block)
        self.forward = q, k, v, y, self.log_sum_exp, *self.how
        sums = None if delta is None else device.from_host(delta)
        self.backward = dy, q, k, v, self.log_sum_exp, dq, dk, dv, *self.how, sums
        self.results = y, self.log_sum_exp, dq, dk, dv

    def run(self):
        """Run both ops by the path for GPUs."""
        assert path.attention(*self.forward)
        assert path.attention_dx(*self.backward)

    def expected(self):
        """Return the results of the NumPy functions."""
        q, k, v, dy = (x.astype(np.float64) for x in self.wide)
        y, dq, dk, dv, log_sum_exp = (np.empty(shape) for shape in (q.shape, q.shape, k.shape, v.shape, q.shape[:3]))
        OPS["attention"].numpy(q, k, v, y, log_sum_exp, *self.wide_how)
        OPS["attention_dx"].numpy(dy, q, k, v, log_sum_exp, dq, dk, dv, *self.wide_how, self.delta)
        return y, log_sum_exp, dq, dk, dv

    def check(self, tolerance=1e-5):
        for name, found, oracle in zip(RESULTS, self.results, self.expected(), strict=True):
            scale = max(1.0, float(np.abs(oracle).max(initial=0, where=np.isfinite(oracle))))
            near = self.device.to_host(found).astype(np.float64)
            np.testing.assert_allclose(near, oracle, rtol=0, atol=tolerance * scale, err_msg=f"{name}, {self.seed}")


def place(device, x, layout):
    """Return x (N, H, T, D) on the device in a layout."""
    if layout == "packed":
        n, h, t, d = x.shape
        whole = np.full((n, t, 3, h, d), np.nan, x.dtype)
        whole[:, :, 1] = x.transpose(0, 2, 1, 3)
        return device.from_host(whole)[:, :, 1].transpose(0, 2, 1, 3)
    if layout == "turned":
        return device.from_host(np.ascontiguousarray(x.swapaxes(2, 3))).swapaxes(2, 3)
    return device.from_host(x)


EDGES = {
    "no samples": ((0, 2, 3, 4, 5), "plain", True, ()),
    "no queries": ((2, 2, 0, 4, 5), "plain", False, None),
    "vectors of no size": ((2, 2, 3, 4, 0), "plain", True, None),
    "one number": ((1, 1, 1, 1, 1), "plain", True, None),
    "no keys seen": ((3, 1, 4, 6, 3), "packed", False, (0, 6, -5)),
    "more keys than queries": ((2, 3, 5, 11, 6), "packed", True, None),
    "more queries than keys": ((4, 2, 9, 3, 8), "packed", True, (3, 9, 1, 0)),
    "rows that are not contiguous": ((2, 3, 5, 7, 4), "turned", True, None),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(anywhere, name):
    inputs = Inputs(anywhere, *EDGES[name])
    inputs.run()
    inputs.check()


@pytest.mark.parametrize("seed", range(12))
def test_random_inputs(anywhere, monkeypatch, seed):
    """Sizes, layouts and masks; scores that take turns, by samples, heads and queries."""
    rng = np.random.default_rng(seed)
    n, h, s, t, d = (int(rng.integers(1, most)) for most in (5, 5, 20, 20, 9))
    group, lengths, segments = int(rng.integers(1, 4)), rng.integers(0, t + 3, n) if seed % 2 else None, None
    if seed > 5:
        s, segments = min(s, t), np.cumsum(rng.random((n, t)) < 0.3, axis=1) - 2
    monkeypatch.setattr(path, "SCORE_BYTES", int(rng.choice([1, 300, 2000, 1 << 28])))
    sizes, layout = (n, h * group, s, t, d), ("packed", "plain")[seed % 3 == 0]
    dropout = Masks(0.4, (seed, 3, 2**35, 2**33)) if seed % 3 != 1 else None
    if seed > 8 and dropout:
        dropout = dropout._replace(counters=anywhere.from_host(np.array([8, 13], np.int64)))
    inputs = Inputs(anywhere, sizes, layout, seed % 4 < 2, lengths, seed, segments, group, dropout)
    inputs.run()
    inputs.check()


@pytest.mark.parametrize("seed", range(10))
def test_blocks_of_longer_rows(anywhere, monkeypatch, seed):
    """Queries and keys anywhere in a row, heads among others; sums of p dp that are given."""
    rng = np.random.default_rng(seed)
    n, h, s, t, d = (int(rng.integers(1, most)) for most in (5, 5, 20, 20, 9))
    group, length = int(rng.integers(1, 4)), max(s, t) + int(rng.integers(4, 40))
    block = Block(int(rng.integers(length - s + 1)), int(rng.integers(length - t + 1)), length, 3, h * group + 5)
    lengths = rng.integers(0, length + 3, n) if seed % 2 else None
    segments = np.cumsum(rng.random((n, length)) < 0.2, axis=1) - 2 if seed % 3 == 1 else None
    dropout = Masks(0.4, (seed, 3, 2**35, 2**33)) if seed % 3 else None
    if seed > 6 and dropout:
        dropout = dropout._replace(counters=anywhere.from_host(np.array([8, 13], np.int64)))
    delta = rng.standard_normal((n, h * group, s)).astype(np.float32) if seed % 4 else None
    monkeypatch.setattr(path, "SCORE_BYTES", int(rng.choice([1, 300, 2000, 1 << 28])))
    sizes, causal = (n, h * group, s, t, d), seed % 4 < 2
    inputs = Inputs(anywhere, sizes, "packed", causal, lengths, seed, segments, group, dropout, block, delta)
    inputs.run()
    inputs.check()


@pytest.mark.parametrize(
    ("sizes", "bytes_", "parts"),
    [
        ((3, 2, 8, 8, 4), 1 << 28, 1),
        ((2, 3, 8, 8, 4), 1 << 28, 1),
        ((2, 4, 8, 8, 4), 4 * 8 * 8 * 4, 2),  # a sample at a time
        ((2, 4, 8, 8, 4), 2 * 8 * 8 * 4, 4),  # two heads
        ((2, 2, 8, 8, 4), 3 * 8 * 4, 12),  # three queries
    ],
)
def test_working_memory_and_launches(monkeypatch, sizes, bytes_, parts):
    device = ShimDevice()
    monkeypatch.setattr(path, "SCORE_BYTES", bytes_)
    inputs = Inputs(device, sizes, "packed", causal=True)
    before = device.workspace_bytes
    with device.counted() as counts:
        assert path.attention(*inputs.forward)
    assert device.workspace_bytes - before <= bytes_
    assert counts["launches"] == {"gemm_simt": 2 * max(parts, min(sizes[:2])), "attention_softmax": parts}
    assert path.attention_dx(*inputs.backward)
    assert device.workspace_bytes - before <= bytes_
    inputs.check()
    with device.counted() as counts:
        inputs.run()
    assert counts["buffers"] == counts["temporaries"] == counts["calls"] == counts["syncs"] == 0
    inputs.check()


def test_the_same_bits_every_time(anywhere):
    found = []
    for _ in range(2):
        inputs = Inputs(anywhere, (2, 3, 40, 40, 16), "packed", causal=True)
        inputs.run()
        found.append([anywhere.to_host(x).tobytes() for x in inputs.results])
    assert found[0] == found[1]


def test_hidden_keys_do_not_count(anywhere):
    found = []
    for contents in (0.0, 1e6):
        inputs = Inputs(anywhere, (2, 2, 5, 8, 4), lengths=(3, 0))
        for array in inputs.forward[1:3]:
            array[0, :, 3:] = contents
            array[1] = contents
        inputs.run()
        found.append([anywhere.to_host(x) for x in inputs.results])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    y, _, _, dk, dv = found[0]
    assert not y[1].any()
    assert not dk[0, :, 3:].any()
    assert not dv[0, :, 3:].any()


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 5e-3), ("bf16", 4e-2)])
def test_products_have_the_precision_of_the_device(precision, tolerance):
    """Heads too large for the fused kernels."""
    device = ShimDevice()
    device.precision = precision
    inputs = Inputs(device, (2, 2, 20, 20, 136), "packed", causal=True)
    inputs.run()
    assert device.launches["gemm_mma"] == 14
    inputs.check(tolerance)
    with pytest.raises(AssertionError):
        inputs.check(1e-5)


@pytest.mark.parametrize("long_row", [4096, 16])
def test_softmax(anywhere, monkeypatch, long_row):
    """By a warp a row, or a block; in place too."""
    monkeypatch.setattr(rows, "LONG_ROW", long_row)
    for shape in ((5, 7), (3, 300), (1, 1), (0, 4)):
        rng = np.random.default_rng(shape[0])
        x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
        y, dx = anywhere.from_host(x.copy()), anywhere.from_host(dy.copy())
        assert rows.softmax(y, y)
        assert rows.softmax_dx(y, dx, dx)
        expected, expected_dx = np.empty(shape), np.empty(shape)
        if x.size:
            OPS["softmax"].numpy(x.astype(np.float64), expected)
            OPS["softmax_dx"].numpy(expected, dy.astype(np.float64), expected_dx)
        np.testing.assert_allclose(anywhere.to_host(y), expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(anywhere.to_host(dx), expected_dx, rtol=1e-4, atol=1e-6)


def test_what_is_not_covered(device):
    inputs = Inputs(device, (2, 2, 3, 4, 5))
    wide = [device.from_host(x.astype(np.float64)) for x in inputs.wide]
    assert not path.attention(*wide[:3], *inputs.forward[3:])
    assert not path.attention(*inputs.forward[:-3], device.zeros((2, 2), np.int64)), "fewer keys than queries"
    assert not path.attention_dx(wide[3], *inputs.backward[1:])
    assert not rows.softmax(device.zeros((3, 4), np.float64), device.zeros((3, 4), np.float64))
    turned = device.zeros((4, 3)).T
    assert not rows.softmax(turned, turned)
    assert not rows.softmax_dx(turned, turned, turned)
