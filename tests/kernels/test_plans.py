"""Plans made in Python fit the kernels: threads, shared memory, the record that is passed."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from mpitrain.kernels import convolution_lines, convolution_plan, gemm_launch
from mpitrain.kernels.convolution import AXIS, Convolution
from mpitrain.kernels.convolution import RECORD as CONVOLUTION
from mpitrain.kernels.divide import FAST_DIVIDE
from mpitrain.kernels.gemm import RECORD, TILES, Shape
from mpitrain.kernels.gemm_plan import SUM_COLUMNS, SUM_ROWS, SUM_THREADS, make_plan
from mpitrain.kernels.matrices import Matrices
from mpitrain.kernels.plan import PIECE, shared_bytes_limit
from mpitrain.ops.cuda.launch import WINDOW
from tests.kernels import cpu

pytestmark = cpu.needs_gxx
CONSTANT = 'extern "C" __attribute__((visibility("default"))) long long constant_{} = {};\n'


def constants(file, macros, expressions, before=""):
    """Return the values of C++ expressions at the end of a kernel's file."""

    def add(text):
        return text + before + "".join(CONSTANT.format(i, e) for i, e in enumerate(expressions))

    library = cpu.build(file, add, **macros)._library._library
    return [ctypes.c_longlong.in_dll(library, f"constant_{i}").value for i in range(len(expressions))]


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.name)
def test_tiles(tile):
    inputs = "fp32" if tile.kernel == "gemm_simt" else "bf16"
    made = make_plan(Shape(1, 1, 1, inputs=inputs), tile, 1)
    shared = "SHARED_BYTES" if tile.stages else "0"
    rows = "TILE_M * CLUSTER" if tile.is_persistent else "TILE_M"
    expressions = ["THREADS", rows, "TILE_N", "TILE_K", "WARP_M", shared]
    threads, m, n, k, slab, shared_bytes = constants(made.kernel.file, dict(made.kernel.macros), expressions)
    assert made.launch.block == (threads, 1, 1)
    assert made.launch.shared_bytes == shared_bytes
    assert (tile.m, tile.n, tile.slab) == (m, n, slab)
    assert 64 % k == 0, "parts of K are multiples of 64"


TILES_BY_TAPS = [tile for tile in convolution_plan.TILES if tile not in convolution_lines.TILES]


@pytest.mark.parametrize("kind", ["forward", "dw"])
@pytest.mark.parametrize("tile", TILES_BY_TAPS, ids=lambda tile: tile.name)
def test_tiles_of_convolutions(tile, kind):
    inputs = "fp32" if tile.kernel == "conv2d_simt" else "bf16"
    conv = Convolution(kind, 1, (3, 3), 64, 64, (3, 3), inputs=inputs)
    made = convolution_plan.make_plan(conv, tile, 1)
    shared = "SHARED_BYTES" if tile.stages else "0"
    rows = "TILE_M * CLUSTER" if tile.is_persistent else "TILE_M"
    expressions = ["THREADS", rows, "TILE_N", "TILE_K", "GROUP_M" if tile.is_persistent else "WARP_M", shared]
    threads, m, n, k, slab, shared_bytes = constants(made.kernel.file, dict(made.kernel.macros), expressions)
    _, launch = made.launches[0]
    assert launch.block == (threads, 1, 1)
    assert launch.shared_bytes == shared_bytes
    assert (tile.m, tile.n, tile.slab) == (m, n, slab)
    assert 64 % k == 0, "parts of K are multiples of 64"


@pytest.mark.parametrize(
    ("kind", "channels", "width"), [("forward", 64, 56), ("dx", 64, 7), ("forward", 128, 28), ("dx", 40, 9)]
)
def test_convolutions_by_lines(kind, channels, width):
    """Shared memory, places and columns of the kernel are those of its launch, and more stages would not fit."""
    conv = Convolution(kind, 2, (5, width), channels, channels, (3, 3), (1, 1), (1, 1), inputs="bf16", outputs="bf16")
    tile = convolution_lines.tile_of(conv)
    made = convolution_plan.make_plan(conv, tile, 1)
    expressions = ["THREADS", "SHARED_BYTES", "TILE_M", "TILE_N", "Work::IMAGES", "STAGES", "RING_BYTES / STAGES"]
    found = constants(made.kernel.file, dict(made.kernel.macros), expressions)
    _, launch = made.launches[0]
    images = convolution_lines.Work.of(conv).images
    assert found[:5] == [launch.block[0], launch.shared_bytes, tile.m, tile.n, images]
    assert found[5] == convolution_lines.MOST_STAGES or found[1] + 2 * found[6] > shared_bytes_limit(90)


def test_record():
    fields = [f"__builtin_offsetof(Record, {name})" for name in RECORD.names]
    found = constants("gemm_sum.cu", {}, ["sizeof(Record)", *fields], "using Record = Gemm<Output, Output>;\n")
    assert found == [RECORD.itemsize, *(RECORD.fields[name][1] for name in RECORD.names)]


def test_convolution():
    fields = [f"__builtin_offsetof(Record, {name})" for name in CONVOLUTION.names]
    axis = [f"__builtin_offsetof(Axis, {name})" for name in AXIS.names]
    before = "using Record = Convolution<Input, Output>;\n"
    found = constants("conv2d_mma.cu", {}, ["sizeof(Record)", *fields, "sizeof(Axis)", *axis], before)
    expected = [[dtype.itemsize, *(dtype.fields[name][1] for name in dtype.names)] for dtype in (CONVOLUTION, AXIS)]
    assert found == expected[0] + expected[1]


def test_window():
    """Whatever is made for a window is read by the kernels at the same place."""
    fields = [f"__builtin_offsetof(Window, {name})" for name in WINDOW.names]
    found = constants("pool.cu", {}, ["sizeof(Window)", *fields, "sizeof(FastDivide)", "PIECE"])
    assert found[:-2] == [WINDOW.itemsize, *(WINDOW.fields[name][1] for name in WINDOW.names)]
    assert found[-2:] == [FAST_DIVIDE.itemsize, PIECE]


def test_sum():
    """gemm_sum's block: columns of its warps, rows of each."""
    made = make_plan(Shape(1, 1, 1000), TILES[0], 4).sum_launch
    assert made.block == (SUM_THREADS, 1, 1)
    assert constants("gemm_sum.cu", {}, ["WARP_ROWS", "4 * PIECE * (256 / 32)"]) == [SUM_ROWS, SUM_COLUMNS]


def test_a_product_without_depth(monkeypatch):
    """Factors without memory are described by another place: the driver may refuse null, and nothing is read."""
    maps = []
    device = SimpleNamespace(tensor_map=lambda planned: maps.append(planned) or np.zeros((), "V128"))
    monkeypatch.setattr(gemm_launch, "launch", lambda *arguments: None)
    shape = Shape(128, 256, 0, inputs="bf16", outputs="bf16")
    made = make_plan(shape, next(tile for tile in TILES if tile.is_persistent), 1)
    out = Matrices(4096 + 2, 128, 256, 256)
    gemm_launch.launch_gemm(device, made, shape, Matrices(0, 128, 0, 8), Matrices(0, 0, 256, 256), out)
    assert [each.address for each in maps] == [4096, 4096]
