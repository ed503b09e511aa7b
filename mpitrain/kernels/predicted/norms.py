"""Predicted traffic and time of batch normalizations and the ends of residual blocks in a step: no measurement.

    python -m mpitrain.kernels.predicted.norms        the tables of docs/benchmarks/gpu-predicted.md

A pass over activations in bf16 is a read or a write of all of them. "Before" is a step in which the sums of residual
blocks and their ReLUs are passes of their own, and convolutions by wgmma leave no moments.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ..bench.cases import RESNET50
from ..convolution_lines import covers
from ..convolution_wgmma import parts_of
from .convolution import LAUNCH_S, of_layer
from .convolution import predict as predict_before
from .convolution_wgmma import MOMENT_BYTES
from .convolution_wgmma import predict as predict_wgmma
from .rates import H100

ELEMENT = 2  # bytes
MOST_SLABS = 256  # whose moments need no merging (ops/cuda/batchnorm.py)
SLAB = 64
TAILS = {(56, 64, 256): 3, (28, 128, 512): 4, (14, 256, 1024): 6, (7, 512, 2048): 3}  # of ResNet-50: size, channels
PASSES = {  # before and now
    "moments": (1, 2 * MOMENT_BYTES / ELEMENT),  # written and read again, instead of a pass
    "end of a block, forward": (5, 3),  # read, write, two reads, write; two reads, write
    "end of a block, backward": (9, 7),  # mask 2 + 2, sums 2, dx 2 + 1; sums 3 + 1, dx 2 + 1
    "gradient of an identity": (4, 2),  # dx written, then two reads and a write; read and written with dx
}


class Layers(NamedTuple):
    """Elements of the results of normalizations of a network that ``PASSES`` are about, in its order."""

    name: str
    moments: int
    ends: int
    identities: int

    def elements(self, what: str) -> int:
        """Return those of a row of ``PASSES``."""
        return {"moments": self.moments, "gradient of an identity": self.identities}.get(what, self.ends)


def resnet50(batch: int = 256) -> Layers:
    """Return those of ResNet-50. Its first layer, of 3 channels, is no product by wgmma, and left moments before."""
    moments = ends = identities = 0
    for layer in RESNET50:
        shape = of_layer(layer, "forward", batch).shape()
        count = TAILS.get((layer.size, layer.i, layer.o), 0)
        moments += layer.layers * shape.m * shape.n * (layer.i > 3)
        ends += count * shape.m * shape.n
        identities += max(0, count - 1) * shape.m * shape.n  # the first block of a stage has a convolution there
    return Layers(f"ResNet-50, batch {batch}", moments, ends, identities)


def resnet20(batch: int = 128) -> Layers:
    """Return those of resnet20: 3 blocks of 2 normalizations a stage, and a shortcut in two stages."""
    stages = [batch * size**2 * channels for size, channels in ((32, 16), (16, 32), (8, 64))]
    whole, halved = sum(stages), sum(stages[1:])
    return Layers(f"resnet20, batch {batch}", 6 * whole + halved, 3 * whole, 3 * whole - halved)


def traffic() -> Iterator[str]:
    """Yield the lines of the table of bytes."""
    yield "| network | what | passes before | now | GB before | now | ms less |"
    yield "|---|---|---|---|---|---|---|"
    for layers in (resnet50(), resnet20()):
        total = [0.0, 0.0]
        for what, passes in PASSES.items():
            moved = [ELEMENT * layers.elements(what) * each / 1e9 for each in passes]
            total = [a + b for a, b in zip(total, moved, strict=True)]
            yield _traffic_row(layers.name, what, [f"{each:g}" for each in passes], moved)
        yield _traffic_row(layers.name, "all", ["", ""], total)


def _traffic_row(name: str, what: str, passes: list[str], moved: list[float]) -> str:
    less = (moved[0] - moved[1]) * 1e12 / H100.hbm_bytes
    return f"| {name} | {what} | {' | '.join(passes)} | {moved[0]:.2f} | {moved[1]:.2f} | {less:.3f} |"


def forward_rows(batch: int = 256) -> Iterator[str]:
    """Yield the lines of the table of convolutions by conv2d_wgmma with the moments of their results."""
    yield "| layer | times | convolution, then a pass (ms) | with moments (ms) |"
    yield "|---|---|---|---|"
    totals, count = [0.0, 0.0], 0
    for layer in RESNET50:
        conv = of_layer(layer, "forward", batch)
        if not parts_of(conv) or covers(conv):
            continue
        y = conv.shape().m * conv.shape().n
        alone = predict_before(conv).total
        if not conv.kernel == conv.stride == (1, 1):
            alone = predict_wgmma(conv).total
        before = alone + ELEMENT * y / H100.hbm_bytes + LAUNCH_S
        now = predict_wgmma(conv, moments=True).total + MOMENT_BYTES * y / H100.hbm_bytes
        now += LAUNCH_S if conv.shape().m > MOST_SLABS * SLAB else 0
        count += layer.layers
        totals = [total + layer.layers * each for total, each in zip(totals, (before, now), strict=True)]
        yield f"| {layer.name} | {layer.layers} | {1e3 * before:.3f} | {1e3 * now:.3f} |"
    yield f"| all {count} | | {1e3 * totals[0]:.2f} | {1e3 * totals[1]:.2f} |"


if __name__ == "__main__":
    print("\n".join([*traffic(), "", *forward_rows()]))
