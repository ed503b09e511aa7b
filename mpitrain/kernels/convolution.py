"""Convolutions as products whose factor A is gathered from images: geometry, and the record that a launch passes.

x (N, H, W, C), w (KH, KW, C/G, O), y (N, OH, OW, O). See kernels/convolutions/convolution.cuh.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import gcd, prod

import numpy as np

from .divide import FAST_DIVIDE, fast_divide
from .gemm import RECORD as GEMM
from .gemm import Shape
from .plan import ceil_div

Pair = tuple[int, int]
KINDS = ("forward", "dx", "dw")  # the values of the macro CONVOLUTION
MOST_CLASSES = 2  # of one launch, in each direction

_AXIS_FIELDS = "positions", "scale", "first", "step", "taps", "first_tap", "tap_step", "first_place", "place_step"
AXIS = np.dtype([*((name, np.int32) for name in _AXIS_FIELDS), ("by_positions", FAST_DIVIDE), ("by_taps", FAST_DIVIDE)])
RECORD = np.dtype(
    [
        ("gemm", GEMM),
        ("axes", AXIS, (2, MOST_CLASSES)),
        ("classes", np.int32, (2,)),
        *((name, np.int32) for name in ("images", "height", "width", "channels", "depth")),
        *((name, np.int32) for name in ("out_height", "out_width", "kernel_width")),
        ("by_depth", FAST_DIVIDE),
    ],
    align=True,
)
assert RECORD.itemsize == 440, "the layout of struct Convolution"


@dataclass(frozen=True)
class Convolution:
    """Sizes and types of a convolution, and which of its three products is meant.

    Attributes
    ----------
    kind : str
        forward, dx or dw.
    size : (int, int)
        (H, W) of x.
    inputs : str
        fp32, tf32 (fp32 in memory) or bf16.
    outputs : str
        fp32 or bf16.
    """

    kind: str
    images: int
    size: Pair
    channels: int
    num_outputs: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    inputs: str = "fp32"
    outputs: str = "fp32"
    epilogue: str = "none"

    @property
    def output(self) -> Pair:
        """(OH, OW)."""
        return self._output(0), self._output(1)

    @property
    def gathered(self) -> tuple[Pair, int]:
        """Size and channels of the images that are gathered: dy for dx, else x."""
        return (self.output, self.num_outputs) if self.kind == "dx" else (self.size, self.channels)

    @property
    def depth(self) -> int:
        """Channels of a group of the gathered images."""
        return self.gathered[1] // self.groups

    @property
    def width(self) -> int:
        """N of the product of a group: its channels of out."""
        return (self.channels if self.kind == "dx" else self.num_outputs) // self.groups

    @property
    def in_chunks(self) -> bool:
        """True if the channels of a group are whole chunks of 16 bytes, as asynchronous copies take them."""
        return self.depth % (8 if self.inputs == "bf16" else 4) == 0

    def shape(self, classes: "Classes | None" = None) -> Shape:
        """Return the product of a group: of the largest of ``classes``, or with all of dx in one."""
        if self.kind == "dw":
            rows, depth = prod(self.kernel) * self.depth, self.images * prod(self.output)
        else:
            each = list(classes.each()) if classes is not None else [(self._whole(0), self._whole(1))]
            rows = max(self.images * vertical.positions * horizontal.positions for vertical, horizontal in each)
            depth = max(vertical.taps * horizontal.taps for vertical, horizontal in each) * self.depth
        layout = self.kind == "dw", self.kind == "dx"
        return Shape(rows, self.width, depth, self.groups, *layout, self.inputs, self.outputs, self.epilogue)

    def classes(self) -> list["Classes"]:
        """Return the launches: one, but for dx with a stride above 2."""
        both = [self._axes(dim) for dim in (0, 1)]
        cut = [[axes[i : i + MOST_CLASSES] for i in range(0, len(axes), MOST_CLASSES)] for axes in both]
        return [Classes(tuple(vertical), tuple(horizontal)) for vertical, horizontal in product(*cut)]

    def _output(self, dim: int) -> int:
        extent = (self.kernel[dim] - 1) * self.dilation[dim] + 1
        return (self.size[dim] + 2 * self.padding[dim] - extent) // self.stride[dim] + 1

    def _whole(self, dim: int) -> "Axis":
        positions = self.size[dim] if self.kind == "dx" else self.output[dim]
        reach = ceil_div(self.kernel[dim], self.stride[dim]) if self.kind == "dx" else self.kernel[dim]
        return Axis(positions, 1, 0, 1, reach, 0, 1, 0, 1)

    def _axes(self, dim: int) -> list["Axis"]:
        stride, padding, dilation = self.stride[dim], self.padding[dim], self.dilation[dim]
        if self.kind != "dx":
            return [Axis(self.output[dim], stride, -padding, dilation, self.kernel[dim], 0, 1, 0, 1)]
        classes = (_class(self.size[dim], rest, stride, padding, dilation, self.kernel[dim]) for rest in range(stride))
        return [each for each in classes if each.positions]


@dataclass(frozen=True)
class Axis:
    """One direction of a class of positions: see struct Axis of kernels/convolutions/convolution.cuh."""

    positions: int
    scale: int
    first: int
    step: int
    taps: int
    first_tap: int
    tap_step: int
    first_place: int
    place_step: int

    def record(self) -> tuple[object, ...]:
        """Return the fields of AXIS."""
        numbers = tuple(getattr(self, name) for name in _AXIS_FIELDS)
        return *numbers, fast_divide(max(1, self.positions)), fast_divide(max(1, self.taps))


def _class(size: int, rest: int, stride: int, padding: int, dilation: int, kernel: int) -> Axis:
    """Return the pixels ``at`` of a side for which (at + padding) % stride is ``rest``, and the taps that reach them.

    Output o sees pixel at by tap t where at + padding = o stride + t dilation.
    """
    first_place = (rest - padding) % stride
    positions = max(0, ceil_div(size - first_place, stride))
    factor = gcd(stride, dilation)
    taps = [tap for tap in range(kernel) if (tap * dilation - rest) % stride == 0]
    if not taps:
        return Axis(positions, 1, 0, 0, 0, 0, 1, first_place, stride)
    first = (first_place + padding - taps[0] * dilation) // stride
    steps = -dilation // factor, stride // factor
    return Axis(positions, 1, first, steps[0], len(taps), taps[0], steps[1], first_place, stride)


@dataclass(frozen=True)
class Classes:
    """The classes of one launch, in each direction."""

    vertical: tuple[Axis, ...]
    horizontal: tuple[Axis, ...]

    @property
    def num(self) -> int:
        """Their number."""
        return len(self.vertical) * len(self.horizontal)

    def each(self) -> Iterator[tuple[Axis, Axis]]:
        """Yield (vertical, horizontal), in the order in which a kernel counts them."""
        return product(self.vertical, self.horizontal)


@lru_cache(maxsize=4096)
def geometry(conv: Convolution, classes: Classes) -> bytes:
    """Return the record of a launch without its product (the field ``gemm``)."""
    record = np.zeros((), RECORD)
    for dim, axes in enumerate((classes.vertical, classes.horizontal)):
        record["classes"][dim] = len(axes)
        for i, axis in enumerate(axes):
            record["axes"][dim, i] = axis.record()
    (height, width), channels = conv.gathered
    record["images"], record["channels"], record["depth"] = conv.images, channels, conv.depth
    record["height"], record["width"], record["kernel_width"] = height, width, conv.kernel[1]
    record["out_height"], record["out_width"] = conv.size if conv.kind == "dx" else conv.output
    record["by_depth"] = fast_divide(max(1, conv.depth))
    return record.tobytes()[GEMM.itemsize :]


def record_of(gemm: bytes, conv: Convolution, classes: Classes) -> np.ndarray:
    """Return the argument of a kernel: ``gemm`` is its product, struct Gemm of kernels/products/gemm.cuh."""
    return np.frombuffer(gemm + geometry(conv, classes), RECORD).reshape(())
