"""Predicted times of convolutions line by line, from bytes and instruction counts: no measurement.

    python -m mpitrain.kernels.predicted.convolution_lines      the table of docs/benchmarks/gpu-predicted.md

Both consumers of a block work on lines of their own, so a multiprocessor takes for two lines the longest of what its
tensor cores, its shared memory, its schedulers and its fetches from L2 take. Before the first line come the filters.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ..bench.cases import RESNET50
from ..bench.cases import Convolution as Layer
from ..convolution import Convolution
from ..convolution_lines import CONSUMERS, PLACES, STEP, TAPS, Work, depth_of, lines_read, parts_of, tile_of
from ..convolution_plan import moved_bytes
from .convolution import LAUNCH_S, of_layer
from .rates import H100

INSTRUCTIONS = {64: 316, 128: 512}  # of a consumer's thread for a line, by channels: test_compile_conv2d_lines.py
WITH_MOMENTS = {64: 587, 128: 723}
WAVEFRONT = 128  # bytes that shared memory moves in a clock
RESNEXT50 = tuple(Layer(size, c, c, 3, 1, 1) for size, c in ((56, 128), (28, 256), (14, 512), (7, 1024)))
RESNET20 = Layer(32, 16, 16, 3, 1, 6), Layer(16, 32, 32, 3, 1, 5), Layer(8, 64, 64, 3, 1, 5)


class Prediction(NamedTuple):
    """The parts of a prediction in seconds."""

    memory: float
    l2: float
    shared: float
    tensor: float
    issue: float
    total: float


def predict(conv: Convolution, moments: bool = False) -> Prediction:
    """Return the predicted time of a convolution by conv2d_lines_wgmma."""
    assert parts_of(conv), f"{conv} is not covered"
    clocks = line_clocks(conv, moments)
    lines = lines_read(conv, H100.processors)
    filters = TAPS * TAPS * depth_of(conv) * tile_of(conv).n * 2
    before = LAUNCH_S + (filters / H100.l2_bytes + H100.latency) / H100.clock_hz
    memory = moved_bytes(conv) / H100.hbm_bytes
    l2, shared, tensor, issue = (lines * each / H100.clock_hz for each in clocks)
    return Prediction(memory, l2, shared, tensor, issue, max(memory, l2, shared, tensor, issue) + before)


def line_clocks(conv: Convolution, moments: bool = False) -> tuple[float, float, float, float]:
    """Return the clocks for a line of each consumer: of L2, shared memory, tensor cores and schedulers."""
    work, n, depth = Work.of(conv), tile_of(conv).n, depth_of(conv)
    arriving = work.images * (work.width + TAPS - 1) * 2 * (conv.depth if conv.groups == 1 else depth)
    steps = depth // STEP
    products = TAPS * TAPS * steps * n * 2 * STEP  # filters, that each wgmma reads
    fragments = TAPS * steps * PLACES * 2 * STEP  # pixels, loaded once for each column of taps
    leaving = PLACES * n * 2 * (3 if moments else 2)  # written, fetched by the copy engine, read for moments
    shared = (arriving + products + fragments + leaving) / WAVEFRONT
    macs = PLACES * n * TAPS * TAPS * depth
    instructions = (WITH_MOMENTS if moments else INSTRUCTIONS)[64 if depth <= 64 else 128]
    each = arriving / H100.l2_bytes, shared, macs / H100.multiply_adds["wgmma"], instructions * 4 / H100.issue
    l2, shared, tensor, issue = (CONSUMERS * part for part in each)
    return l2, shared, tensor, issue


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    yield (
        "| layer | batch | forward, dx (ms) | with moments (ms) | "
        "memory, L2, shared memory, tensor cores, schedulers (ms) | places used |"
    )
    yield "|---|---|---|---|---|---|"
    resnet50 = [each for each in RESNET50 if each.kernel == 3 and each.stride == 1 and each.i <= 128]
    cases = [(each, batch, 1) for each in resnet50 for batch in (32, 256)]
    cases += [(each, 256, 32) for each in RESNEXT50] + [(each, 128, 1) for each in RESNET20]
    for layer, batch, groups in cases:
        conv = replace(of_layer(layer, "forward", batch), groups=groups)
        found, work = predict(conv), Work.of(conv)
        parts = ", ".join(f"{1e3 * x:.3f}" for x in found[:-1])
        used = conv.output[1] / (work.strips * work.width)
        moments = predict(conv, moments=True).total
        name = layer.name + f", {groups} groups" * (groups > 1)
        yield f"| {name} | {batch} | {1e3 * found.total:.3f} | {1e3 * moments:.3f} | {parts} | {used:.0%} |"


if __name__ == "__main__":
    print("\n".join(rows()))
