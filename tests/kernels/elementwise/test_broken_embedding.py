"""Embeddings broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.arrays import i32, i64, launch

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "text",
    [
        ("    __syncthreads();\n    next = key_at", "    next = key_at"),
        (
            "    __syncthreads();\n  }\n#pragma unroll\n  for (int apart = 1",
            "  }\n#pragma unroll\n  for (int apart = 1",
        ),
        ("below += __shfl_xor_sync(~0u, below, apart)", "below += 0"),
        ("4 * i + j < before", "4 * i + j <= before"),
        ("count<1>(tile", "count<0>(tile"),
        ("first > first_own", "first + COUNTERS > first_own"),
        ("COUNTERS / LANES - less - more", "COUNTERS / LANES - less"),
        ("first + COUNTERS + threadIdx.x", "first + threadIdx.x"),
        (" : BEHIND; };", " : 0; };"),
    ],
)
def test_broken_order_is_found(text):
    broken = cpu.build("embedding.cu", lambda whole: whole.replace(*text))
    ids, (order, starts) = np.random.default_rng(0).integers(0, 9, 700), np.full((2, 3000), -1, np.int32)
    launch(broken, "embedding_order", ids, order, starts, i32(700), grid=11)
    assert not np.array_equal(order[:700], np.argsort(ids, kind="stable"))


@pytest.mark.parametrize(
    "text",
    [
        ("  __syncthreads();\n  const int stop", "  const int stop"),
        ("seen + 1 == m || ", ""),
        ("threadIdx.x == PART - 1 || ", ""),
        ("end = seen + 1", "end = seen"),
    ],
)
def test_broken_ends_of_runs_are_found(text):
    """Runs of one word, of several, and of more than a block adds up, to the last place."""
    rng = np.random.default_rng(0)
    broken, ids = (
        cpu.build("embedding.cu", lambda whole: whole.replace(*text)),
        np.repeat([0, 1, 2, 3, 4], [1, 5, 150, 30, 40]),
    )
    dy, order, starts = (
        rng.standard_normal((226, 8)).astype(np.float32),
        np.arange(226, dtype=np.int32),
        np.zeros(227, np.int32),
    )
    starts[:226], starts[226] = np.searchsorted(ids, ids), 186
    dtable, partials = np.zeros((5, 8), np.float32), np.zeros((8, 8), np.float32)
    sizes = i32(226), i32(8), i64(5)
    try:
        launch(broken, "embedding_dw", ids, order, starts, dy, dtable, partials, *sizes, grid=226, block=128, seed=1)
        launch(broken, "embedding_merge", ids, order, starts, dtable, partials, *sizes, grid=4, block=128)
    except cpu.Launch:
        return
    assert not np.allclose(dtable, [dy[ids == i].sum(axis=0) for i in range(5)], atol=1e-4)
