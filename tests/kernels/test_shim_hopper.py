"""The shim's Hopper: tensor copies, mbarriers and wgmma, against the layouts of the PTX ISA written out in NumPy."""

import numpy as np
import pytest

from tests.kernels import cpu, formats, gemm, products

pytestmark = cpu.needs_gxx
HERE = cpu.Path(__file__).parent
SHARED = 64 * 1024


@pytest.fixture(scope="module")
def probes():
    return cpu.build("probes_hopper.cu", folder=HERE)


def launch(probes, name, *arguments, threads=128, blocks=1, shared=SHARED, seed=0, memory=()):
    arguments = [np.array(a, np.int32) if isinstance(a, int) else a for a in arguments]
    options = {"shared_bytes": shared, "seed": seed, "arguments": arguments, "memory": memory}
    probes.launch(name, grid=(blocks, 1, 1), block=(threads, 1, 1), **options)


def swizzled(tile: np.ndarray) -> np.ndarray:
    """Permute the 16-byte pieces of each row of 128 bytes: piece p of row r goes to p ^ r % 8."""
    rows = np.ascontiguousarray(tile).view(np.uint8).reshape(-1, 8, 16)
    out = np.empty_like(rows)
    for row in range(len(rows)):
        for piece in range(8):
            out[row, piece ^ row % 8] = rows[row, piece]
    return out.reshape(-1)


def images(dtype):
    """A batch of matrices of 3 x 20 rows of 100, within a larger buffer, and its map for boxes of 128 bytes x 16."""
    buffer = products.Buffer((3, 20, 96), 8, 0, dtype)
    buffer.values[:] = np.arange(buffer.values.size, dtype=np.uint32).reshape(buffer.values.shape) % 50000
    return buffer, gemm.tensor_map(buffer, (128 // buffer.values.itemsize, 16))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("at", [(0, 0, 0), (72, 8, 2), (-8, -4, 1), (0, 16, 1), (96, 0, 0), (0, 0, 3)])
def test_boxes_are_swizzled_and_filled_with_zeros(probes, dtype, at):
    buffer, record = images(dtype)
    width = 128 // buffer.values.itemsize
    early, out = np.zeros(16 * 128, np.uint8), np.zeros(16 * 128, np.uint8)
    launch(probes, "copy_a_box", record, *at, out.size, early, out, memory=[buffer.values])
    x, y, z = at
    padded = np.zeros((20 + 200, 96 + 200), dtype)
    if z < 3:
        padded[100:120, 100:196] = buffer.values[z]
    box = padded[100 + y : 116 + y, 100 + x : 100 + x + width]
    np.testing.assert_array_equal(out, swizzled(box))
    assert cpu.elsewhere or (early == 0xFF).all()


@pytest.mark.parametrize("at", [(0, 0, 0, 0), (64, 8, 3, 1), (16, 28, 2, 0), (0, -4, 4, 1), (0, 0, 0, 2)])
def test_boxes_of_heads_in_packed_rows(probes, at):
    """Four dims: (element of a head, token, head, sample), whose strides are in no order."""
    samples, tokens, heads, size = 2, 30, 4, 80
    whole = np.random.default_rng(0).integers(0, 60000, (samples, tokens, 3, heads, size)).astype(np.uint16)
    view, out = whole[:, :, 1].transpose(0, 2, 1, 3), np.zeros(16 * 128, np.uint8)
    record = gemm.shim_map(view.ctypes.data, 2, view.shape[::-1], view.strides[::-1], (64, 16))
    launch(probes, "copy_a_box_4d", record, *at, out.size, out, memory=[whole])
    x, y, z, w = at
    padded = np.zeros((tokens + 200, size + 200), np.uint16)
    if z < heads and w < samples:
        padded[100 : 100 + tokens, 100 : 100 + size] = view[w, z]
    np.testing.assert_array_equal(out, swizzled(padded[100 + y : 116 + y, 100 + x : 164 + x]))


def test_multicast_reaches_both_blocks(probes):
    buffer, record = images(np.uint16)
    out = np.zeros((2, 16 * 128), np.uint8)
    launch(probes, "copy_to_both", record, 16 * 128, out, blocks=2, memory=[buffer.values])
    for block in out:
        np.testing.assert_array_equal(block, swizzled(buffer.values[0, :16, :64]))


@pytest.mark.parametrize("seed", range(3))
def test_phases_alternate(probes, seed):
    seen = np.zeros((9, 64), np.int32)
    launch(probes, "ping_pong", 9, seen, threads=64, seed=seed)
    assert (seen[:, 1:] == np.arange(9)[:, None]).all()


@pytest.mark.shim
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("barrier_before_its_init", "before it was initialised|never completes"),
        ("barrier_without_fence", "before it was initialised and fenced"),
        ("one_arrival_too_many", "more arrivals"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_misused_barriers_fail(probes, name, message, seed):
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, name, seed=seed)


@pytest.mark.shim
def test_misused_copies_fail(probes):
    _, record = images(np.uint16)
    with pytest.raises(cpu.Launch, match="not aligned to 1024"):
        launch(probes, "copy_off_alignment", record, 16 * 128)
    with pytest.raises(cpu.Launch, match=r"before its tensor copies landed|before it was initialised"):
        launch(probes, "copy_nobody_awaits", record, 16 * 128, threads=1)
    with pytest.raises(cpu.Launch, match="another number of dims"):
        launch(probes, "copy_a_box_4d", record, 0, 0, 0, 0, 2048, np.zeros(2048, np.uint8))
    record["stride"][1] += 2
    with pytest.raises(cpu.Launch, match="would refuse"):
        launch(probes, "copy_a_box", record, 0, 0, 0, 2048, np.zeros(2048, np.uint8), np.zeros(2048, np.uint8))


def check_wgmma(probes, name, a_tile, b_tile, leading, a, b):
    early, out = (np.zeros((4, 8, 4, 16, 2, 2), np.float32) for _ in range(2))  # warp, g, t, group, half, pair
    launch(probes, name, a_tile, b_tile, a_tile.size, b_tile.size, leading, early, out)
    assert cpu.elsewhere or np.isnan(early).all()
    d = out.transpose(0, 4, 1, 3, 2, 5).reshape(64, 128)  # row 16 warp + 8 half + g, column 8 group + 2 t + pair
    np.testing.assert_allclose(d, 2 * (np.float64(a) @ np.float64(b)), rtol=1e-5, atol=1e-5)


def test_wgmma_tf32(probes):
    rng = np.random.default_rng(0)
    a_rows, b_rows = (rng.standard_normal((rows, 32)).astype(np.float32) for rows in (64, 128))
    a, b = ((x[:, :8].copy().view(np.uint32) & 0xFFFFE000).view(np.float32) for x in (a_rows, b_rows))
    check_wgmma(probes, "wgmma_tf32", swizzled(a_rows), swizzled(b_rows), 0, a, b.T)


def test_wgmma_bf16_contiguous_in_k(probes):
    rng = np.random.default_rng(0)
    a_rows, b_rows = (formats.to_bf16(rng.standard_normal((rows, 64))) for rows in (64, 128))
    a, b = (formats.from_bf16(x[:, :16]) for x in (a_rows, b_rows))
    check_wgmma(probes, "wgmma_bf16_kk", swizzled(a_rows), swizzled(b_rows), 0, a, b.T)


def test_wgmma_bf16_contiguous_across(probes):
    """Rows are k, 64 columns wide; columns 64 to 127 of B follow as a tile of their own, `leading` bytes later."""
    rng = np.random.default_rng(0)
    a, b = (formats.to_bf16(rng.standard_normal((16, cols))) for cols in (64, 128))
    b_tile = np.concatenate([swizzled(b[:, :64].copy()), swizzled(b[:, 64:].copy())])
    check_wgmma(probes, "wgmma_bf16_mn", swizzled(a), b_tile, 16 * 128, formats.from_bf16(a).T, formats.from_bf16(b))


@pytest.mark.shim
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (1, "without a fence"),
        (2, "without the swizzle"),
        (3, "beyond the shared memory"),
        (4, "different descriptors"),
        (5, "before it has waited"),
    ],
)
def test_misused_wgmma_fails(probes, mistake, message):
    launch(probes, "wgmma_wrong", 0, shared=4 * 8192 + 1024)
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, "wgmma_wrong", mistake, shared=4 * 8192 + 1024)
