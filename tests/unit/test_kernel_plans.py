"""Launch plans and the planner: pure numbers."""

import json

import pytest

from mpitrain.device import Im2colMap, TensorMap, tensor_map
from mpitrain.errors import UserError
from mpitrain.kernels import convolution_plan
from mpitrain.kernels.gemm import TILES, Shape
from mpitrain.kernels.gemm_plan import make_plan, split_choices
from mpitrain.kernels.matrices import Matrices
from mpitrain.kernels.plan import Launch, ceil_div, shared_bytes_limit
from mpitrain.kernels.planner import Table, choose, microseconds, plan, read_table, shape_key

SHAPES = [Shape(m, n, k) for m in (1, 64, 1000, 8192) for n in (10, 128, 4096) for k in (1, 64, 784, 100_000)]


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.name)
def test_every_part_of_k_is_covered_once(tile):
    for shape in SHAPES:
        for splits in split_choices(shape):
            made = make_plan(shape, tile, splits)
            assert made.launch.grid[1] == (1 if tile.is_persistent else made.splits)
            assert (made.splits - 1) * made.k_split < shape.k <= made.splits * made.k_split
            assert made.k_split % 64 == 0
            assert (made.sum_kernel is not None) == (made.splits > 1)


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.name)
def test_tiles_cover_the_matrix(tile):
    for shape in SHAPES:
        across = ceil_div(shape.n, tile.n)
        rows, columns = make_plan(shape, tile, 1).pieces // across * tile.m, across * tile.n
        assert shape.m <= rows < shape.m + tile.m
        assert shape.n <= columns < shape.n + tile.n


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.name)
def test_tiles_fit_the_architectures_they_say(tile):
    assert tile.threads <= 1024
    assert tile.shared_bytes <= shared_bytes_limit(tile.least_arch)


def test_persistent_blocks_fill_the_machine_and_no_more():
    tile = next(tile for tile in TILES if tile.cluster == 2)
    shape = Shape(2560, 2560, 64, batch=3, inputs="bf16")
    assert make_plan(shape, tile, 1, 132).launch.grid == (132, 1, 1)
    assert make_plan(shape, tile, 1, 131).launch.grid == (130, 1, 1), "clusters are whole"
    assert make_plan(shape, tile, 1, 1000).launch.grid == (600, 1, 1), "no more clusters than tiles"
    assert tile.takes(shape, "sm_90a")
    assert not tile.takes(shape, "sm_100a")


def test_tensor_maps_that_no_driver_takes():
    good = {"address": 4096, "element_bytes": 2, "size": (100, 30, 1), "row_bytes": 208, "matrix_bytes": 6240}
    assert TensorMap(**good, box=(64, 128)).box == (64, 128)
    for bad in ({"address": 4104}, {"row_bytes": 200}, {"size": (0, 30, 1)}, {"element_bytes": 4}):
        with pytest.raises(ValueError, match=r"a tensor map|a box"):
            TensorMap(**{**good, **bad}, box=(64, 128))
    heads = {**good, "size": (80, 30, 4, 2), "matrix_bytes": 160}  # in packed rows, heads lie closer than tokens
    assert TensorMap(**heads, box=(64, 128), batch_bytes=6240).strides == (208, 160, 6240)
    for bad in ({"batch_bytes": 6248}, {"size": (80, 30)}, {"matrix_bytes": -160}):
        with pytest.raises(ValueError, match="a tensor map"):
            TensorMap(**{**heads, **bad}, box=(64, 128))


WINDOWS = {
    "address": 4096, "element_bytes": 2, "size": (72, 9, 7, 3), "strides": (144, 1296, 9072), "box": (64, 128),
    "lower": (-1, -2), "upper": (-3, 1), "step": (2, 1),
}  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        {"address": 4104},
        {"strides": (140, 1296, 9072)},
        {"size": (72, 9, 7, 0)},
        {"box": (32, 128)},
        {"box": (64, 257)},
        {"lower": (-129, 0)},
        {"upper": (128, 0)},
        {"step": (9, 1)},
        {"upper": (-10, 1)},
    ],
)
def test_windows_that_no_driver_takes(bad):
    Im2colMap(**WINDOWS)
    with pytest.raises(ValueError, match=r"must be|must have|within"):
        Im2colMap(**{**WINDOWS, **bad})


def test_windows_as_the_driver_gets_them(monkeypatch):
    """The arguments of cuTensorMapEncodeIm2col in its order; enumerators of cuda.h: bf16 9, swizzle 128B 3."""
    asked = []

    def driver(name):
        return lambda *arguments: asked.append((name, [_numbers(each) for each in arguments[1:]])) or 0

    monkeypatch.setattr(tensor_map, "_driver_function", driver)
    tensor_map.encode.__wrapped__(Im2colMap(**WINDOWS))
    sizes = [[72, 9, 7, 3], [144, 1296, 9072], [-1, -2], [-3, 1], 64, 128, [1, 2, 1, 1]]
    assert asked == [("cuTensorMapEncodeIm2col", [9, 4, 4096, *sizes, 0, 3, 3, 0])]


def _numbers(argument):
    return argument.value if hasattr(argument, "value") else list(argument)


def test_nothing_is_launched_that_cannot_be():
    for bad in ({"grid": (0, 1, 1), "block": (32, 1, 1)}, {"grid": (1, 70000, 1), "block": (32, 1, 1)}):
        with pytest.raises(ValueError, match="a grid of"):
            Launch(**bad)
    with pytest.raises(ValueError, match="a block of 2048 threads"):
        Launch((1, 1, 1), (1024, 2, 1))


def test_every_shape_has_a_plan_that_its_gpu_can_launch():
    for arch in ("sm_75", "sm_80", "sm_86", "sm_90a"):
        for inputs in ("fp32", "tf32", "bf16") if arch != "sm_75" else ("fp32",):
            for shape in SHAPES:
                made = plan(Shape(shape.m, shape.n, shape.k, inputs=inputs), arch, 100)
                assert made.kernel.fits(arch)
                assert made.launch.shared_bytes <= shared_bytes_limit(int(arch[3:5]))
                assert (made.kernel.file == "gemm_simt.cu") == (inputs == "fp32")


@pytest.mark.parametrize("arch", ["sm_100a", "sm_103a", "sm_120a"])
@pytest.mark.parametrize("inputs", ["fp32", "tf32", "bf16"])
def test_blackwell_takes_the_kernels_of_ampere(arch, inputs):
    """wgmma exists on Hopper alone; sm_120 has the least shared memory of the three, 99 KiB for a block."""
    for shape in SHAPES:
        made = plan(Shape(shape.m, shape.n, shape.k, inputs=inputs), arch, 148)
        assert made.kernel.file == ("gemm_simt.cu" if inputs == "fp32" else "gemm_mma.cu")
        assert made.kernel.fits(arch)
        assert made.launch.shared_bytes <= 99 << 10


def test_no_tensor_cores_is_said():
    with pytest.raises(UserError, match="no matrix product of bf16 for sm_75: take --precision fp32"):
        plan(Shape(8, 8, 8, inputs="bf16"), "sm_75", 40)


def test_large_products_take_large_tiles_and_small_ones_fill_the_machine():
    table = read_table()
    assert choose(Shape(4096, 4096, 4096), "sm_90a", 132, table) == (TILES[0], 1)
    tile, splits = choose(Shape(128, 10, 60_000, transpose_a=True), "sm_90a", 132, table)  # dw of a long batch
    assert splits > 8
    tile, splits = choose(Shape(512, 512, 128), "sm_90a", 132, table)
    assert (tile.m, splits) == (64, 1)


@pytest.mark.parametrize(("arch", "inputs"), [("sm_80", "fp32"), ("sm_80", "tf32"), ("sm_90a", "bf16")])
@pytest.mark.parametrize(("m", "n", "k"), [(2_100_000, 64, 512), (64, 9_000_000, 512), (3_000_000, 10, 100_000)])
def test_what_no_gpu_could_launch_is_not_considered(arch, inputs, m, n, k):
    """More than 65535 blocks of rows or of columns, where K is long enough to be cut."""
    shape = Shape(m, n, k, inputs=inputs)
    made = plan(shape, arch, 132)
    assert made.pieces >= made.splits
    assert max(split_choices(shape)) == (1 if n > 65535 * 128 else 2 ** (min(64, k // 256).bit_length() - 1))


class Asked:
    """A device that returns what it is asked to encode."""

    def tensor_map(self, planned):
        return planned


def test_a_map_knows_how_far_matrices_are_apart():
    """Heads of attention, for one: matrix h is the columns 64 h to 64 h + 63 of 12 heads."""
    heads = Matrices(4096, rows=50, cols=64, ld=12 * 64, matrices=12, apart=64)
    planned = heads.tensor_map(Asked(), (64, 128))
    assert (planned.size, planned.row_bytes, planned.matrix_bytes) == ((64, 50, 12), 1536, 128)
    whole = Matrices(4096, rows=50, cols=64, ld=64)
    assert whole.tensor_map(Asked(), (32, 128), 4).matrix_bytes == 50 * 256
    with pytest.raises(ValueError, match="multiples of 16 bytes"):
        Matrices(4096, rows=50, cols=60, ld=64, matrices=2, apart=60).tensor_map(Asked(), (64, 128))


def test_the_model_is_never_beaten_by_what_it_left_out():
    table = read_table()
    for shape in SHAPES:
        tile, splits = choose(shape, "sm_80", 108, table)
        chosen = microseconds(shape, tile, splits, 108, table)
        tiles = [t for t in TILES if t.takes(shape, "sm_80")]
        assert all(chosen <= microseconds(shape, t, s, 108, table) for t in tiles for s in split_choices(shape))


def test_what_was_measured_is_taken():
    shape = Shape(4096, 4096, 4096)
    guessed = vars(read_table())
    measured = Table(**{**guessed, "measured": True, "shapes": {shape_key(shape, "sm_80"): ("simt_64x64", 4)}})
    assert choose(shape, "sm_80", 128, measured) == (TILES[1], 4)
    unknown = Table(**{**guessed, "shapes": {shape_key(shape, "sm_80"): ("simt_1x1", 4)}})
    assert choose(shape, "sm_80", 128, unknown) == (TILES[0], 1)


def test_the_shipped_table_does_not_claim_to_be_measured():
    assert read_table().measured is False
    assert set(read_table().shares) == {tile.name for tile in (*TILES, *convolution_plan.TILES)}


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({"shapes": {"x": 3}})])
def test_a_damaged_table_is_said(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"table.json is no table of kernels"):
        read_table(path)
