"""The shim's Hopper: tensor copies, mbarriers and wgmma, against the layouts of the PTX ISA written out in NumPy."""

import functools

import numpy as np
import pytest

from tests.kernels import cpu, formats
from tests.kernels.products import cases as products
from tests.kernels.products import gemm

pytestmark = cpu.needs_gxx
SHARED = 64 * 1024


@pytest.fixture(scope="module")
def probes():
    return cpu.build("probes_hopper.cu", folder=cpu.PROBES)


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


@pytest.mark.shim
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (1, "a thread wrote and did not fence"),
        (2, "two tensor copies to one place|more arrivals"),
        (3, "in a block that has ended|before its tensor copies landed"),
        (4, "the cluster does not have"),
        (5, "more bytes than it can count"),
    ],
)
def test_copies_to_wrong_places_fail(probes, mistake, message, seed):
    _, record = images(np.uint16)
    launch(probes, "copy_wrong", record, 2048, 0, blocks=2, seed=seed)
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, "copy_wrong", record, 2048, mistake, blocks=2, seed=seed)


@pytest.mark.shim
@pytest.mark.parametrize(
    ("change", "message"),
    [({"blocks": 3}, "whole clusters"), ({"threads": 1025}, "1 to 1024"), ({"shared": 228 << 10}, "227 KB")],
)
def test_launches_that_a_gpu_refuses_fail(probes, change, message):
    _, record = images(np.uint16)
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, "copy_wrong", record, 2048, 0, **{"blocks": 2} | change)


@pytest.mark.shim
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (1, "given by a larger number, or taken by a smaller one"),
        (2, "given by a larger number, or taken by a smaller one"),
        (3, "different numbers of registers|nobody gives"),
        (4, "registers that nobody gives"),
    ],
)
def test_registers_that_are_not_there_are_not_taken(probes, mistake, message):
    """Each of 384 threads has 168: (1) fewer are taken, (2) more given, (3) half a warpgroup gives, (4) too many."""
    launch(probes, "share_registers", 0, threads=384)
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, "share_registers", mistake, threads=384)


@pytest.mark.shim
@pytest.mark.parametrize("mistake", range(4))
def test_addresses_of_global_memory_fail(probes, mistake):
    memory = np.zeros(1024 + 16, np.uint8)
    with pytest.raises(cpu.Launch, match="should be in shared memory"):
        launch(probes, "not_in_shared_memory", memory[-memory.ctypes.data % 16 :], mistake, threads=32)


@functools.cache
def probes_of(width):
    """Probes with products of 64 rows and ``width`` columns."""
    return cpu.build("probes_hopper.cu", folder=cpu.PROBES, WIDTH=width)


def matrix_of(out, width):
    """Return the sums as a matrix: row 16 warp + 8 half + g, column 8 group + 2 t + pair."""
    return out.reshape(4, 8, 4, width // 8, 2, 2).transpose(0, 4, 1, 3, 2, 5).reshape(64, width)


def check_wgmma(name, a_tile, b_tile, leading, a, b):
    width = b.shape[1]
    early, out = np.zeros((2, 64 * width), np.float32)
    launch(probes_of(width), name, a_tile, b_tile, a_tile.size, b_tile.size, leading, early, out)
    assert cpu.elsewhere or np.isnan(early).all()
    np.testing.assert_allclose(matrix_of(out, width), 2 * (np.float64(a) @ np.float64(b)), rtol=1e-5, atol=1e-5)


def columns_in_blocks(b):
    """Return rows that are k, 64 columns wide: the columns beyond follow as tiles of their own."""
    padded = np.pad(b, ((0, 0), (0, -b.shape[1] % 64)))
    return np.concatenate([swizzled(padded[:, i : i + 64].copy()) for i in range(0, padded.shape[1], 64)])


WIDTHS = [8, 96, 256]


@pytest.mark.parametrize("width", WIDTHS)
def test_wgmma_tf32(width):
    rng = np.random.default_rng(0)
    a_rows, b_rows = (rng.standard_normal((rows, 32)).astype(np.float32) for rows in (64, width))
    a, b = ((x[:, :8].copy().view(np.uint32) & 0xFFFFE000).view(np.float32) for x in (a_rows, b_rows))
    check_wgmma("wgmma_tf32", swizzled(a_rows), swizzled(b_rows), 0, a, b.T)


@pytest.mark.parametrize("width", WIDTHS)
def test_wgmma_bf16_contiguous_in_k(width):
    rng = np.random.default_rng(0)
    a_rows, b_rows = (formats.to_bf16(rng.standard_normal((rows, 64))) for rows in (64, width))
    a, b = (formats.from_bf16(x[:, :16]) for x in (a_rows, b_rows))
    check_wgmma("wgmma_bf16_kk", swizzled(a_rows), swizzled(b_rows), 0, a, b.T)


@pytest.mark.parametrize("width", WIDTHS)
def test_wgmma_bf16_contiguous_across(width):
    """Columns 64 to 127 of B follow as a tile of their own, `leading` bytes later."""
    rng = np.random.default_rng(0)
    a, b = (formats.to_bf16(rng.standard_normal((16, cols))) for cols in (64, width))
    b_tile = columns_in_blocks(b)
    check_wgmma("wgmma_bf16_mn", swizzled(a), b_tile, 16 * 128, formats.from_bf16(a).T, formats.from_bf16(b))


@pytest.mark.parametrize("k_contiguous", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_wgmma_with_a_from_registers(width, k_contiguous):
    rng = np.random.default_rng(width)
    a, b = (formats.to_bf16(rng.standard_normal(shape)) for shape in ((64, 16), (16, width)))
    rows = np.pad(b.T, ((0, 0), (0, 48)))
    tile, name = (swizzled(rows), "wgmma_rows_k") if k_contiguous else (columns_in_blocks(b), "wgmma_rows_n")
    out = np.zeros(64 * width, np.float32)
    launch(probes_of(width), name, a, tile, tile.size, 16 * 128, out)
    expected = 2 * (np.float64(formats.from_bf16(a)) @ formats.from_bf16(b))
    np.testing.assert_allclose(matrix_of(out, width), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.shim
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (1, "without a fence"),
        (2, "without the swizzle"),
        (3, "beyond the shared memory"),
        (4, "different descriptors"),
        (5, "before it has waited"),
        (6, "changed before the wait"),
        (7, "no meaning"),
        (8, "sums of wgmma changed after the fence"),
        (9, "registers of A changed after the fence"),
    ],
)
def test_misused_wgmma_fails(probes, mistake, message):
    launch(probes, "wgmma_wrong", 0, shared=4 * 8192 + 1024)
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, "wgmma_wrong", mistake, shared=4 * 8192 + 1024)


@pytest.mark.shim
def test_wgmma_does_not_see_what_is_not_fenced():
    unfenced = cpu.build(
        "probes_hopper.cu", lambda text: text.replace("  fence_async();\n", ""), folder=cpu.PROBES, WIDTH=8
    )
    out = np.zeros(64 * 8, np.float32)
    launch(unfenced, "wgmma_rows_k", np.zeros((64, 16), np.uint16), np.zeros(1024, np.uint8), 1024, 0, out)
    assert np.isnan(out).all()


@pytest.mark.parametrize("transposed", [0, 1])
def test_stmatrix(probes, transposed):
    """A lane's pair i is in row lane / 4 of matrix i, at columns 2 (lane % 4) and the next; transposed: the reverse."""
    values = np.random.default_rng(0).integers(0, 2**32, (32, 4), np.uint32)
    out = np.zeros((4, 8, 8), np.uint16)
    launch(probes, "store_four_matrices", values, transposed, out, threads=32)
    pairs = values.view(np.uint16).reshape(8, 4, 4, 2)  # lane / 4, lane % 4, matrix, half
    matrices = pairs.transpose(2, 0, 1, 3).reshape(4, 8, 8)
    np.testing.assert_array_equal(out, matrices.transpose(0, 2, 1) if transposed else matrices)


def store(probes, at, dtype=np.uint16, mistake=0):
    """Store a box of 128 bytes x 16 into a batch of matrices; return the box and the matrices before and after."""
    buffer, record = images(dtype)
    box = np.arange(16 * 128 // buffer.values.itemsize).reshape(16, -1).astype(dtype)
    before = buffer.values.copy()
    arguments = (*at, 16 * 128, swizzled(box), mistake)
    launch(probes, "store_a_box", record, *arguments, memory=[buffer.values])
    buffer.check_outside()
    return box, before, buffer.values


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("at", [(0, 0, 0), (72, 8, 2), (-8, -4, 1), (96, 0, 0), (0, 0, 3)])
def test_stores_of_boxes_end_at_the_matrix(probes, dtype, at):
    box, before, after = store(probes, at, dtype)
    x, y, z = at
    padded = np.zeros((20 + 200, 96 + 200), dtype)
    expected = before.copy()
    if z < 3:
        padded[100:120, 100:196] = before[z]
        padded[100 + y : 116 + y, 100 + x : 100 + x + box.shape[1]] = box
        expected[z] = padded[100:120, 100:196]
    np.testing.assert_array_equal(after, expected)


@pytest.mark.shim
@pytest.mark.parametrize("mistake", [1, 2, 3])
def test_stores_read_late_and_only_what_was_fenced(probes, mistake):
    box, _, after = store(probes, (0, 0, 0), mistake=mistake)
    wrong = after[0, :16, :64] != box
    assert (after[0, :16, :64][wrong] == 0xFFFF).all()
    assert {1: wrong.all(), 2: 32 <= wrong.sum() <= 64, 3: wrong.sum() == 1}[mistake]


@pytest.mark.shim
def test_a_store_is_in_memory_after_the_launch(probes):
    """Its wait says that shared memory was read: the matrix is not yet written then."""
    buffer, record = images(np.uint16)
    before, seen = buffer.values[0, 0, 0], np.zeros(1, np.uint16)
    launch(probes, "read_a_store", record, 2048, buffer.values, seen, memory=[buffer.values])
    assert seen[0] == before != buffer.values[0, 0, 0] == 0x3F3F


@pytest.mark.shim
def test_each_writer_fences(probes):
    """The fence of one lane is not one for the others: at the second box from the same place, and all later ones."""
    for fencing in (32, 1):
        buffer, record = images(np.uint16)
        launch(probes, "store_boxes", record, 2048, 3, fencing, threads=32, memory=[buffer.values])
        found = buffer.values[:, :16, :64]
        right = found == np.array([0x0101, 0x0202, 0x0303])[:, None, None]
        assert right[0].all()
        assert right[1:].mean() == (1 if fencing == 32 else 0)
        assert (found[~right] == 0xFFFF).all()


@pytest.mark.shim
@pytest.mark.parametrize(
    ("mistake", "message"),
    [(4, "before its tensor stores have read"), (5, "not aligned to 1024"), (6, "before its tensor stores have read")],
)
def test_misused_stores_fail(probes, mistake, message):
    with pytest.raises(cpu.Launch, match=message):
        store(probes, (0, 0, 0), mistake=mistake)


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_warps_take_turns(probes, seed):
    seen = np.zeros((7, 128), np.int32)
    launch(probes, "take_turns", 7, 0, seen, seed=seed)
    ball, expected = 0, np.zeros_like(seen)
    for i in range(7):
        for group in range(2):
            expected[i, 64 * group : 64 * group + 64] = ball
            ball = 2 * ball + group
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.shim
def test_a_group_that_does_not_wait_is_found(probes):
    def run(seed):
        seen = np.zeros((7, 128), np.int32)
        launch(probes, "take_turns", 7, 1, seen, seed=seed)
        return seen.tobytes()

    assert len({run(seed) for seed in range(4)}) > 1
