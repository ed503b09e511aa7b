"""Convolutions run by the kernels of wgmma, and gemm_sum after them, with the oracle of convolutions.py."""

import numpy as np

from mpitrain.device import join_maps
from mpitrain.kernels import convolution_lines
from mpitrain.kernels.convolution import KINDS, Convolution, record_of
from mpitrain.kernels.convolution_plan import built_for, parts_of
from mpitrain.kernels.convolution_wgmma import TILES, Part
from mpitrain.kernels.gemm import Tile
from tests.kernels import cpu
from tests.kernels.convolutions.cases import SLAB_OF_SUM, Arrays, Case
from tests.kernels.products import gemm
from tests.kernels.products.cases import ARGUMENTS, EPILOGUES

PROCESSORS = 3  # fewer than tiles, so that blocks take several


def wide(n: int, cluster: int = 1) -> Tile:
    """Return the tile of ``n`` columns."""
    return next(tile for tile in TILES if (tile.n, tile.cluster) == (n, cluster))


def random_case(seed: int) -> tuple[Case, Tile]:
    """Draw a small convolution that is covered, what its epilogue does, and a tile."""
    rng = np.random.default_rng(seed)
    while True:
        kind = str(rng.choice(KINDS))
        channels = int(rng.choice([64, 128] if kind == "dw" else [8, 16, 64, 72, 136]))
        kernel, stride, size = (tuple(map(int, rng.integers(1, most, 2))) for most in (5, 5, 13))
        padding, dilation = tuple(map(int, rng.integers(0, 5, 2))), tuple(map(int, rng.integers(1, 4, 2)))
        sizes = int(rng.integers(1, 4)), size, channels, int(rng.choice([8, 24, 64, 136]))
        conv = Convolution(kind, *sizes, kernel, stride, padding, dilation, inputs="bf16")
        if min(conv.output) > 0 and parts_of(TILES[0], conv):
            part = 0 if kind == "dx" and max(stride) > 1 else int(rng.choice([0, 64, 192]))
            case = Case(conv, bias=bool(rng.integers(2)), beta=float(rng.integers(2)), part=part, seed=seed)
            return case, TILES[rng.integers(len(TILES))]


def run(case: Case, tile: Tile, edit=None, stages: int | None = None) -> float:
    """Run one case and return its error; moments and sums are checked."""
    arrays, parts = Arrays(case), parts_of(tile, case.conv)
    assert parts, "not covered"
    cut, what = False, built_for(tile, case.conv, moments=case.moments)
    kernels = cpu.build(what.file, edit, **dict(what.macros) | ({"STAGES": stages} if stages else {}))
    for part in parts:
        cut = launch(case, part, tile, kernels, arrays, what.name)
    slab = SLAB_OF_SUM if cut else parts[0].slab(tile, PROCESSORS * tile.cluster)
    if case.moments and tile in convolution_lines.TILES:
        arrays.check_all_moments(slab)
    elif case.moments:
        arrays.check_moments(slab)
    if case.sums:
        arrays.check_sums(slab)
    return arrays.error()


def launch(case: Case, part: Part, tile: Tile, kernels: cpu.Kernels, arrays: Arrays, name: str) -> bool:
    """Launch one part, and gemm_sum where K is cut: then return True."""
    product = np.frombuffer(arrays.gemm(part.classes), ARGUMENTS).reshape(()).copy()
    product["m"], product["n"], product["k"] = part.shape.m, part.shape.n, part.shape.k
    product["splits"] = splits = max(1, -(-part.shape.k // case.part)) if case.part else 1
    options = {"memory": arrays.memory, "seed": case.seed}
    planned = part.launch(tile, splits, PROCESSORS * tile.cluster)
    maps = part.maps(tile, *(array.ctypes.data for array in (arrays.a, arrays.b, arrays.out, arrays.c)))
    kernels.launch(
        name,
        grid=planned.grid,
        block=planned.block,
        shared_bytes=planned.shared_bytes,
        arguments=[
            *(join_maps([gemm.shim_planned_map(planned) for planned in each]) for each in maps),
            record_of(product.tobytes(), case.conv, part.classes),
        ],
        **options,
    )
    if splits > 1:
        macros = {"EPILOGUE": EPILOGUES.index(case.conv.epilogue), "OUTPUT_BF16": int(case.conv.outputs == "bf16")}
        macros |= {"COLUMN_MOMENTS": 1} if case.moments else {}
        grid = -(-part.shape.m // 32), -(-part.shape.n // 128), 1
        built = cpu.build("gemm_sum.cu", **macros)
        built.launch("gemm_sum", grid=grid, block=(256, 1, 1), arguments=[product], **options)
    return splits > 1
