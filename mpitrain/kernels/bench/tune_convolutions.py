"""Measurement of the planner's table for convolutions: the best tile and split of K of each."""

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from ..convolution import KINDS, Convolution
from ..convolution_launch import Operands, launch_convolution, partial_bytes
from ..convolution_plan import TILES, ConvolutionPlan, convolution_key, make_plan, microseconds, splits_of, takes
from ..kernel import Kernel
from ..planner import read_table
from .bench import Bench
from .cases import RESNET50
from .stopwatch import Contender

BATCHES = 32, 256
TYPES = "fp32", "tf32", "bf16"
MOST_WAYS = 24  # ways of one convolution that are measured, the model's best


def resnet50(arch: str, batches: Iterable[int] = BATCHES) -> list[Convolution]:
    """Return the convolutions of ResNet-50 that gather (all but 1 x 1 without a stride, which are products)."""
    found = []
    for batch in batches:
        for layer in RESNET50:
            if layer.kernel == layer.stride == 1:
                continue
            half = layer.kernel // 2
            window = (layer.kernel,) * 2, (layer.stride,) * 2, (half, half)
            size = layer.size, layer.size
            for inputs in TYPES:
                for kind in KINDS:
                    outputs = "bf16" if inputs == "bf16" and kind != "dw" else "fp32"
                    conv = Convolution(kind, batch, size, layer.i, layer.o, *window, inputs=inputs, outputs=outputs)
                    if any(takes(tile, conv, arch) for tile in TILES):
                        found.append(conv)
    return found


class ConvolutionTuner(Bench):
    """Measurements for the planner of convolutions."""

    def shapes(self, convolutions: Iterable[Convolution]) -> dict[str, tuple[str, int]]:
        """Return (tile name, splits) of the fastest way of each, by its name in the table; the smallest first."""
        found = {}
        for conv in sorted(convolutions, key=operations):
            if not self.over():
                found[convolution_key(conv, self.device.arch)] = self.best(conv)
        return found

    def best(self, conv: Convolution) -> tuple[str, int]:
        """Return the fastest way."""
        made = self.ways(conv)
        self.say(f"{convolution_key(conv, self.device.arch)}: {len(made)} ways")
        seconds = self.stopwatch.medians([self.contender(conv, plan) for plan in made], self.repeat)
        plan = made[int(np.argmin(seconds))]
        return plan.tile.name, plan.splits

    def ways(self, conv: Convolution) -> list[ConvolutionPlan]:
        """Return the plans to measure: every tile, and with it the parts of K that the model prefers."""
        processors = self.device.num_processors
        tiles = [tile for tile in TILES if takes(tile, conv, self.device.arch)]
        each = max(1, MOST_WAYS // max(1, len(tiles)))
        made, table = [], read_table()
        for tile in tiles:
            seconds = {n: microseconds(conv, tile, n, processors, table) for n in splits_of(conv, tile, processors)}
            chosen = sorted(seconds, key=seconds.__getitem__)[:each]
            made += [make_plan(conv, tile, n, num_processors=processors) for n in sorted(chosen)]
        return made

    def kernels(self, convolutions: Iterable[Convolution]) -> set[Kernel]:
        """Return what has to be built for all of them."""
        return {plan.kernel for conv in convolutions for plan in self.ways(conv)}

    def contender(self, conv: Convolution, made: ConvolutionPlan) -> Contender:
        """Return the launches of a plan on random numbers."""
        a, b, out = (self._array(name, conv, size) for name, size in sizes(conv).items())
        partials = self.contenders.memory("partials", max(1, partial_bytes(made, conv) // 4), np.float32)
        operands = Operands(a.data.ptr, b.data.ptr, out.data.ptr, partials=partials.data.ptr)
        return lambda: launch_convolution(self.device, made, conv, operands)

    def _array(self, name: str, conv: Convolution, size: int) -> Any:
        if name == "out":
            return self.contenders.memory("out", size, np.uint16 if conv.outputs == "bf16" else np.float32)
        return self.contenders.random(name, size, "bf16" if conv.inputs == "bf16" else "fp32")


def sizes(conv: Convolution) -> dict[str, int]:
    """Return the elements of the gathered images, of the other factor and of the result."""
    x = conv.images * prod(conv.size) * conv.channels
    w = prod(conv.kernel) * conv.channels // conv.groups * conv.num_outputs
    y = conv.images * prod(conv.output) * conv.num_outputs
    of = {"forward": (x, w, y), "dx": (y, w, x), "dw": (x, y, w)}[conv.kind]
    return dict(zip(("a", "b", "out"), of, strict=True))


def operations(conv: Convolution) -> float:
    """Return the operations of a convolution, padding included."""
    taps = prod(conv.kernel) * conv.channels // conv.groups
    return 2.0 * conv.images * prod(conv.output) * conv.num_outputs * taps
