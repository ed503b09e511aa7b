"""Predicted times of convolutions on an H100, from instruction counts and bytes: no measurement.

    python -m mpitrain.kernels.predicted.convolution        the table of docs/benchmarks/gpu-predicted.md

A block's time for one tile of k is the largest of its tensor cores', its schedulers' and that of its fetches from L2.
Blocks that run at once fill the multiprocessors in waves; no launch is faster than x, w and y through the memory.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ..bench.cases import RESNET50
from ..bench.cases import Convolution as Layer
from ..convolution import KINDS, Classes, Convolution
from ..convolution_plan import choose_convolution, moved_bytes
from ..gemm import Tile
from ..plan import ceil_div
from ..planner import read_table
from .rates import H100

PRODUCT_SHARE = 0.75  # of the peak of 2048, that gemm_wgmma is expected to reach in a 1 x 1 convolution
TILE_K = 64
LAUNCH_S = 3e-6
TURNS = {  # instructions of a thread for one tile of k, sm_90a: tests/kernels/convolutions/test_compile_conv2d.py
    "conv2d_mma_128x128": {"forward": 204, "dx": 185, "dw": 273},
    "conv2d_mma_128x64": {"forward": 236, "dx": 204, "dw": 380},
    "conv2d_mma_64x64": {"forward": 150, "dx": 150, "dw": 239},
}
ELEMENTWISE_TURNS = {"forward": 811, "dx": 811, "dw": 935}  # of a 128 x 64 tile


class Prediction(NamedTuple):
    """The parts of a prediction in seconds, and the kernel with its tile."""

    kernel: str
    memory: float
    l2: float
    tensor: float
    issue: float
    total: float


def predict(conv: Convolution) -> Prediction:
    """Return the predicted time of a convolution on tensor cores."""
    memory = moved_bytes(conv) / H100.hbm_bytes
    if conv.kernel == conv.stride == (1, 1):
        shape = conv.shape()
        tensor = (
            shape.m
            * shape.n
            * shape.k
            / (PRODUCT_SHARE * H100.multiply_adds["wgmma"] * H100.processors * H100.clock_hz)
        )
        return Prediction("a product", memory, 0.0, tensor, 0.0, max(memory, tensor) + LAUNCH_S)
    tile, splits = choose_convolution(conv, "sm_80", H100.processors, read_table())
    l2, tensor, issue = (_busy(conv, tile, splits, clocks) for clocks in _clocks(conv, tile))
    time = max(memory, l2, tensor, issue) + LAUNCH_S * len(conv.classes())
    if splits > 1:
        shape = conv.shape()
        time += LAUNCH_S + 8 * splits * shape.m * shape.n * conv.groups / H100.hbm_bytes
    return Prediction(f"{tile.name}, K in {splits}" if splits > 1 else tile.name, memory, l2, tensor, issue, time)


def _clocks(conv: Convolution, tile: Tile) -> tuple[float, float, float]:
    """Return the clocks of fetches, tensor cores and schedulers for one tile of k."""
    turn = TURNS[tile.name][conv.kind]
    if not conv.in_chunks:
        turn = max(turn, ELEMENTWISE_TURNS[conv.kind] * tile.m // 128)
    fetches = 2 * TILE_K * (tile.m + tile.n) / H100.l2_bytes
    return fetches, tile.m * tile.n * TILE_K / H100.multiply_adds["mma"], turn * tile.threads / 32 / H100.issue


def _busy(conv: Convolution, tile: Tile, splits: int, clocks: float) -> float:
    """Return the seconds of all waves of blocks; a multiprocessor shares its units among the blocks it holds."""
    steps = 0
    for classes in conv.classes():
        for axes in classes.each():
            shape = conv.shape(Classes((axes[0],), (axes[1],)))
            tiles = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) * shape.batch
            steps += tiles * splits * max(1, ceil_div(ceil_div(shape.k, splits), TILE_K))
            depth = max(1, ceil_div(ceil_div(shape.k, splits), TILE_K))
    return (ceil_div(steps, H100.processors * depth) * depth) * clocks / H100.clock_hz


def of_layer(layer: Layer, kind: str, batch: int) -> Convolution:
    """Return a convolution of ResNet-50 in bf16."""
    half, outputs = layer.kernel // 2, "fp32" if kind == "dw" else "bf16"
    window = (layer.kernel, layer.kernel), (layer.stride, layer.stride), (half, half)
    size = (layer.size, layer.size)
    return Convolution(kind, batch, size, layer.i, layer.o, *window, inputs="bf16", outputs=outputs)


def rows(batch: int = 256) -> Iterator[str]:
    """Yield the lines of the table."""
    yield (
        "| layer | times | "
        + " | ".join(f"{kind} (ms)" for kind in KINDS)
        + " | forward: memory, L2, tensor, issue (ms) | kernel |"
    )
    yield "|---|---|---|---|---|---|---|"
    totals = dict.fromkeys(KINDS, 0.0)
    for layer in RESNET50:
        found = {kind: predict(of_layer(layer, kind, batch)) for kind in KINDS}
        for kind, each in found.items():
            totals[kind] += layer.layers * each.total
        first = found["forward"]
        parts = ", ".join(f"{1e3 * x:.3f}" for x in (first.memory, first.l2, first.tensor, first.issue))
        times = " | ".join(f"{1e3 * each.total:.3f}" for each in found.values())
        yield f"| {layer.name} | {layer.layers} | {times} | {parts} | {first.kernel} |"
    yield "| all 53 | | " + " | ".join(f"{1e3 * total:.1f}" for total in totals.values()) + " | | |"


if __name__ == "__main__":
    print("\n".join(rows()))
