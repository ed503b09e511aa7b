"""Predicted times of Hopper's convolutions, by wgmma and depthwise, from bytes and instruction counts: no measurement.

    python -m mpitrain.kernels.predicted.convolution_wgmma      the tables of docs/benchmarks/gpu-predicted.md

A tile takes the longer of its fetches from L2 and of its products with the epilogue after them, since both consumers
work on one tile: the copy engine alone runs ahead.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ..bench.cases import RESNET50
from ..convolution import KINDS, Convolution
from ..convolution_plan import microseconds, moved_bytes, splits_of, takes
from ..convolution_wgmma import TILES, parts_of
from ..gemm import Tile
from ..plan import ceil_div
from ..planner import read_table
from .convolution import LAUNCH_S, of_layer
from .rates import H100

ROWS, TILE_K = 128, 64
MOMENT_INSTRUCTIONS = 235, 3.4  # of a thread for a tile, and for each of its columns: test_compile_conv2d_wgmma.py
MOMENT_BYTES = 8 / 64  # of a row and column
PIECE_INSTRUCTIONS = 112  # of a lane for 16 bytes of the result: as in gemm_wgmma's epilogue, inside of the matrix
STRIP_INSTRUCTIONS = {"fp32": 360, "bf16": 401}  # depthwise 3 x 3, 4 lines of 4 channels: test_compile_depthwise.py
DW_INSTRUCTIONS = {"fp32": 273, "bf16": 309}  # 3 lines of 4 channels, 9 taps


class Prediction(NamedTuple):
    """The parts of a prediction in seconds, and the tile."""

    tile: str
    memory: float
    l2: float
    tensor: float
    total: float


def predict(conv: Convolution, moments: bool = False) -> Prediction:
    """Return the predicted time by conv2d_wgmma or conv2d_dw_wgmma, in the best tile, perhaps with moments of y."""
    processors, table = H100.processors, read_table()
    ways = [(tile, n) for tile in TILES if takes(tile, conv, "sm_90a") for n in splits_of(conv, tile, processors)]
    tile, splits = min(ways, key=lambda way: microseconds(conv, way[0], way[1], processors, table))
    memory = moved_bytes(conv) / H100.hbm_bytes
    memory += moments * MOMENT_BYTES * conv.shape().m * conv.shape().n / H100.hbm_bytes
    parts, clusters = parts_of(conv), H100.processors // tile.cluster
    pieces, l2, tensor, busy = 0, 0.0, 0.0, 0.0
    for shape in (shape for part in parts for shape in part.shapes):
        each = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) * splits
        fetch, multiply = _clocks(conv, tile, ceil_div(ceil_div(shape.k, TILE_K), splits), moments)
        pieces, l2, tensor = pieces + each, l2 + each * fetch, tensor + each * multiply
        busy += each * max(fetch, multiply)
    wave = ceil_div(pieces, clusters) / pieces / H100.clock_hz  # seconds for a clock of each piece, in whole waves
    l2, tensor, busy = l2 * wave, tensor * wave, busy * wave
    total = max(memory, busy) + LAUNCH_S * len(parts)
    if splits > 1:
        shape = parts_of(conv)[0].shape
        total += LAUNCH_S + 8 * splits * shape.m * shape.n / H100.hbm_bytes
    return Prediction(f"{tile.name}, K in {splits}" if splits > 1 else tile.name, memory, l2, tensor, total)


def _clocks(conv: Convolution, tile: Tile, steps: int, moments: bool) -> tuple[float, float]:
    """Return the clocks of a block for one tile: to fetch it from L2, and to multiply and write it."""
    fetch = steps * 128 * (ROWS + tile.n / tile.cluster) / H100.l2_bytes
    pieces = ROWS * tile.n * (2 if conv.outputs == "bf16" else 4) / 16 / 256  # of each of the consumers' lanes
    write = pieces * PIECE_INSTRUCTIONS * 8 / H100.issue
    if moments:
        write += (MOMENT_INSTRUCTIONS[0] + MOMENT_INSTRUCTIONS[1] * tile.n) * 8 / H100.issue
    return fetch, steps * ROWS * tile.n * TILE_K / H100.multiply_adds["wgmma"] + write


def rows(batch: int = 256) -> Iterator[str]:
    """Yield the lines of the table of ResNet-50's layers that are not plain products and have more than 3 channels."""
    times = " | ".join(f"{kind} (ms)" for kind in KINDS)
    yield f"| layer | times | {times} | forward: memory, L2, tensor and epilogue (ms) | tiles |"
    yield "|---|---|---|---|---|---|---|"
    for layer in RESNET50:
        convs = [of_layer(layer, kind, batch) for kind in KINDS]
        if layer.i == 3 or convs[0].kernel == convs[0].stride == (1, 1):
            continue
        found = [predict(conv) for conv in convs]
        parts = ", ".join(f"{1e3 * x:.3f}" for x in found[0][1:4])
        tiles = "; ".join(each.tile.removeprefix("conv2d_wgmma_") for each in found)
        yield (
            f"| {layer.name} | {layer.layers} | "
            + " | ".join([*(f"{1e3 * each.total:.3f}" for each in found), parts, tiles])
            + " |"
        )


def depthwise_rows(batch: int = 256, size: int = 56, channels: int = 128) -> Iterator[str]:
    """Yield the lines of the table of a depthwise 3 x 3 with stride 1."""
    elements = batch * size * size * channels
    yield "| type | y or dx: memory, issue (ms) | dw: memory, issue (ms) |"
    yield "|---|---|---|"
    for kind, each in (("fp32", 4), ("bf16", 2)):
        memory = 2 * each * elements / H100.hbm_bytes
        issue = [
            n * elements / 32 / (H100.issue * H100.processors * H100.clock_hz)
            for n in (STRIP_INSTRUCTIONS[kind] / 16, DW_INSTRUCTIONS[kind] / 12)
        ]
        yield f"| {kind} | {1e3 * memory:.3f}, {1e3 * issue[0]:.3f} | {1e3 * memory:.3f}, {1e3 * issue[1]:.3f} |"


if __name__ == "__main__":
    print("\n".join([*rows(), "", *depthwise_rows()]))
