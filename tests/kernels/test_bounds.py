"""Kernels again with sanitizers of g++: memory is touched inside of arrays, aligned, and no number overflows."""

import os
import subprocess
import sys

import pytest

from tests.kernels import cpu

pytestmark = cpu.needs_gxx

RUN_ALL = """
from tests.kernels import cpu
from tests.kernels.attention import cases as attention
from tests.kernels.attention import hopper as attention_hopper
from tests.kernels.compression import codecs
from tests.kernels.products import gemm
from tests.kernels.products import ladder
from tests.kernels.reductions import softmax
from tests.kernels.products.cases import Case, Variant
for name in ("gemm_02_coalesced", "gemm_05_2d_tile", "gemm_07_warp_tile"):
    ladder.run(cpu.build(f"{name}.cu"), name, 70, 67, 21, seed=1)
SIMT, TF32 = Variant("gemm_simt", 0, 1, "none"), Variant("gemm_mma", 1, 0, "none", "tf32")
for variant in (SIMT, TF32, Variant("gemm_mma", 0, 1, "none", "bf16")):
    for pad in (3, 8):
        gemm.run(cpu.build(f"{variant.kernel}.cu", **variant.macros), variant, Case(70, 67, 101, pad=pad))
import numpy as np
from mpitrain.kernels.divide import divide_record
from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels.arrays import NULL, f32, i32, i64, launch
rows, n, parts = 70, 131, 3
x, y, vector = np.ones((rows, n), np.float32), np.ones((rows, n), np.float32), np.ones(n, np.float32)
sums, kept, sizes = np.ones((parts, 2, n), np.float32), np.ones((5, n), np.float32), [i32(rows), i32(n), i32(24)]
launch(cpu.build("batchnorm_moments.cu"), "batchnorm_moments", x, sums, *sizes, grid=(2, parts))
statistics = [sums, vector, vector, vector.copy(), vector.copy(), kept, *sizes, f32(0.1), f32(1e-5)]
launch(cpu.build("batchnorm_statistics.cu"), "batchnorm_statistics", *statistics, grid=17)
kernels = cpu.build("batchnorm.cu")
launch(kernels, "batchnorm_apply", x, kept, y, *sizes[:2], i32(1))
launch(kernels, "batchnorm_apply_residual", x, y, kept, y, *sizes[:2], i32(1))
launch(kernels, "batchnorm_sums_residual", y.copy(), x, y, kept, sums, *sizes, grid=(2, parts))
launch(kernels, "batchnorm_sums", y, x, kept, i32(1), sums, *sizes, grid=(2, parts))
launch(kernels, "batchnorm_dx", y, x, kept, i32(1), kept, x, *sizes[:2])
shape, statistics = [i32(rows), i32(n)], np.ones((2, rows), np.float32)
for macros, block in (({}, 256), ({"ROW_WARPS": 2}, 64)):
    kernels, blocks = cpu.build("layernorm.cu", **macros), rows if macros else 9
    forward = [x, y, vector, vector, f32(1), f32(1), y, *statistics, y, *shape]
    launch(kernels, "layernorm_forward", *forward, grid=blocks, block=block)
    partials = np.ones((2, 3, n), np.float32)
    backward = [x, y, x, *statistics, vector, f32(1), x, partials, *shape]
    launch(kernels, "layernorm_backward", *backward, grid=3, block=block)
sums = [partials, vector, vector.copy(), i32(3), i32(n), i32(1), i32(0)]
launch(cpu.build("reduce.cu"), "sum_parts", *sums, grid=(5, 2), block=512)
ids, order = np.arange(rows) % 7, np.zeros(rows, np.int32)
starts, partials = np.zeros(rows, np.int32), np.ones((4, n), np.float32)
launch(cpu.build("embedding.cu"), "embedding_order", ids, order, starts, i32(rows), grid=2)
table = np.ones((7, n), np.float32)
rest, blocks = [i32(rows), i32(n), i64(7)], {"grid": rows, "block": 128}
launch(cpu.build("embedding.cu"), "embedding_dw", ids, order, starts, x, table, partials, *rest, **blocks)
turned, sizes = np.ones((n, 72), np.float32), [i64(0), i32(n), i32(72), i32(rows), i32(n)]
tiles, numbers = (3 * 5, 1, 1), [*sizes, divide_record(5), divide_record(3)]
cpu.build("round_tf32.cu").launch("round_columns", grid=tiles, block=(32, 8, 1), arguments=[x, turned, *numbers])
rounded = np.ones((rows, 132), np.float32)
launch(cpu.build("round_tf32.cu"), "round_rows", x, rounded, i64(0), i32(n), i32(132), *sizes[3:], i32(1))
for channels, groups in ((6, 2), (8, 1)):
    window = Window((3, 2), (2, 1), (1, 0), (1, 2))
    images = np.ones((2, 7, 6, channels), np.float32)
    columns, record = np.ones((2, 4 * 4, 6 * channels), np.float32), window_record(window, images, groups)
    launch(cpu.build("conv2d_im2col.cu"), "im2col", images, columns, record, grid=(2, 2))
    launch(cpu.build("conv2d_im2col.cu"), "col2im", columns, images, record, grid=(2, 2))
    record, y = window_record(Window((3, 2), (2, 1), (1, 0)), images), np.ones((2, 4, 5, channels), np.float32)
    argmax, pool = np.ones(y.shape, np.uint8), cpu.build("pool.cu")
    launch(pool, "max_pool", images, y, argmax, i32(1), record, grid=(2, 2))
    launch(pool, "max_pool_dx", argmax, y, images, record, grid=(2, 2))
    launch(pool, "mean_pool", images, y, f32(1), record, grid=(2, 2))
    launch(pool, "mean_pool_dx", y, images, f32(1), record, grid=(2, 2))
heads = attention.Case(1, 2, 70, 140, causal=True, lengths=(90,), segments=((100, 40),))
attention_hopper.forward(heads), attention_hopper.backward(heads)
from tests.kernels.convolutions import depthwise
narrow = depthwise.Case(Window((3, 2), (2, 1), (1, 0), (1, 2)), (7, 6), 6)
depthwise.forward(narrow)
depthwise.dx(narrow)
depthwise.dw(narrow)
slope = np.ones((rows, n), np.float32)
for warps in (1, 8):
    kernels = cpu.build("softmax.cu", ROW_WARPS=warps, DROPS=1)
    for case in softmax.CASES:
        softmax.run(kernels, case._replace(pad=0))
    launch(kernels, "softmax_forward", x, x, i32(rows), i32(n), grid=-(-rows * warps // 8))
    launch(kernels, "softmax_dx", x, slope, slope, i32(rows), i32(n), grid=-(-rows * warps // 8))
for codec in codecs.BLOCKS:
    x, error, y = codecs.numbers("normal", 1001, 0), codecs.numbers("normal", 1001, 1), np.ones(1001, np.float32)
    message, kernels = np.zeros(codecs.message_bytes(codec, 1001), np.uint8), cpu.build(f"compress_{codec}.cu")
    codecs.encode(kernels, codec, x, error, message)
    codecs.decode(kernels, codec, message, y, True)
codecs.largest(cpu.build("largest_places.cu"), x, np.zeros(77, np.int64))
columns, done = np.ones((1500, 3), np.float32), np.ones((3, 1500))
launch(cpu.build("orthonormalize.cu"), "orthonormalize", columns, done, i32(1500), i32(3), grid=1, block=1024)
left, right, out = np.ones((70, 5), np.float32), np.ones((5, 33), np.float32), np.ones((70, 33), np.float32)
launch(cpu.build("thin_product.cu"), "thin_product", left, right, out, i32(70), i32(5), i32(33), i32(1), grid=(1, 2))
launch(cpu.build("basis.cu"), "restart_columns", columns, columns.copy(), i32(1500), i32(3), grid=3)
"""
CONVOLUTIONS = """
import numpy as np
from tests.kernels.convolutions import cases as convolutions
from tests.kernels.convolutions.cases import Case, each_kind, geometries, of, run
convolutions.Elements.room = lambda self, *shape, dtype=None: np.zeros(shape, dtype or self.dtype)
tile = {"TILE_M": 64, "TILE_N": 64, "WARP_M": 32, "WARP_N": 32}
wide = of("forward", 1, (9, 11), 24, 70, (3, 3), (2, 2), (1, 1))
for conv in each_kind([*geometries(1)[1:6], wide]):
    run(Case(conv, bias=True, beta=1.0, part=64 if conv.kind == "dw" else 0), TILE_K=8, **tile)
for inputs in ("bf16", "tf32"):
    for conv in each_kind([geometries(8)[1], geometries(3)[4], wide], inputs=inputs):
        run(Case(conv, "conv2d_mma", part=64 if conv.kind == "dw" else 0), STAGES=3, **tile)
run(Case(wide, moments=True), TILE_K=8, **tile)
"""
ATTENTION = """
import numpy as np
from tests.kernels import cpu
from tests.kernels.attention import cases as attention
from tests.kernels.attention.cases import Case, backward, decode, forward
attention.Elements.room = lambda self, *shape, dtype=None: np.zeros(shape, dtype or self.dtype)
cases = Case(2, 2, 70, 90, 40, group=2, causal=True, apart=0), Case(1, 2, 33, 70, 7, segments=((20, 50),), apart=1)
dropped = Case(1, 2, 40, 75, 30, dropout=0.3, query=20, key=21, after=9, counters=True, causal=True, apart=0)
for bf16 in (0, 1):
    for case in (*cases, dropped, Case(2, 1, 5, 10, 64, lengths=(0, 7), apart=0)):
        backward(cpu.build, forward(cpu.build, case, bf16))
    for case in (Case(1, 4, 2, 300, 20, group=4, causal=True, apart=0), Case(2, 1, 1, 130, 7, apart=0)):
        decode(cpu.build, case, bf16, 0, 8)
"""
HOPPER = """
from tests.kernels import cpu
from tests.kernels.convolutions import hopper
from tests.kernels.convolutions import test_broken_conv2d_lines as lines
from tests.kernels.convolutions import test_conv2d_wgmma as convolutions
from tests.kernels.products import gemm
from tests.kernels.products import test_gemm_wgmma as products
for variant in (products.VARIANTS[1], products.VARIANTS[7]):
    for case in products.CASES[4:6]:
        gemm.run(cpu.build("gemm_wgmma.cu", **variant.macros), variant, products.aligned(case, variant))
for case, tile in convolutions.CASES[1::7]:
    hopper.run(case, tile)
for case in (lines.DEEP, lines.GROUPED):
    assert hopper.run(case, lines.tile_of(case.conv), stages=2) < lines.TOLERANCE
"""
BEYOND_SHARED = """
from tests.kernels import cpu
from tests.kernels.products import ladder
edit = lambda text: text.replace("a_tile[a_y][a_x] = ", "(&a_tile[a_y][a_x])[a_y == TILE_M - 1] = ")
ladder.run(cpu.build("gemm_04_1d_tile.cu", edit), "gemm_04_1d_tile", 70, 67, 21, seed=1)
"""
BEYOND_INDEX = BEYOND_SHARED.replace("(&a_tile[a_y][a_x])[a_y == TILE_M - 1]", "a_tile[a_y][a_x + (a_y == TILE_M - 1)]")
SHIFTED = BEYOND_SHARED.replace("(&a_tile[a_y][a_x])[a_y == TILE_M - 1] = ", "a_tile[a_y][a_x] = (1 << m) * 0 + ")
MISALIGNED = """
from tests.kernels import cpu
from tests.kernels.products import ladder
edit = lambda text: text.replace("return reinterpret_cast<unsigned long long>(matrix) %", "return true || 0 %")
ladder.run(cpu.build("gemm_06_vectorized.cu", edit), "gemm_06_vectorized", 70, 67, 21, seed=1)
"""
BEYOND_GLOBAL = """
from tests.kernels import cpu
from tests.kernels.products import ladder
edit = lambda text: text.replace("row < m && col < n) out", "row <= m && col < n) out")
ladder.run(cpu.build("gemm_03_shared.cu", edit), "gemm_03_shared", 70, 67, 21, seed=1)
"""


PROGRAMS = {"all": RUN_ALL, "convolutions": CONVOLUTIONS, "attention": ATTENTION, "Hopper": HOPPER}


def run(program: str) -> subprocess.CompletedProcess:
    runtime = subprocess.run(
        [cpu.COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True
    ).stdout.strip()
    if not os.path.isabs(runtime):  # gcc answers with the bare name where its sanitizers are a package of their own
        pytest.skip("there is no libasan here")
    options = {"MPITRAIN_ASAN": "1", "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=cpu.ROOT, env=os.environ | options, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.timeout(600)  # it builds a dozen kernels
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_kernels_stay_inside(program):
    done = run(program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (BEYOND_SHARED, "global-buffer-overflow"),
        (BEYOND_GLOBAL, "heap-buffer-overflow"),
        (BEYOND_INDEX, "out of bounds for type"),
        (SHIFTED, "shift exponent 70 is too large"),
        (MISALIGNED, "misaligned address"),
    ],
)
def test_an_overrun_is_caught(program, kind):
    done = run(program)
    assert done.returncode != 0
    assert kind in done.stderr
