"""Convolutions by wgmma, from images that Hopper's copy engine gathers: what it covers, its tiles and its tensor maps.

See kernels/convolutions/conv2d_wgmma.cu (forward, and dx class by class) and kernels/convolutions/conv2d_dw_wgmma.cu.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from ..device import Im2colMap, TensorMap
from .convolution import KINDS, MOST_CLASSES, Axis, Classes, Convolution
from .gemm import BOX, EPILOGUES, WGMMA_ROWS, Shape, Tile
from .kernel import Kernel, kernel
from .plan import MOST_ACROSS, Launch, ceil_div

STAGES = {64: 8, 128: 6, 192: 5, 256: 4}  # that fit into shared memory, by columns of a tile
GROUP_ROWS = 64  # of dw, of one tap
MOST_OFFSET = 255  # of a tap from the first of its window
MAPS = MOST_CLASSES**2  # of a kernel for classes
SLAB = 64  # rows of one column sum, or of the moments of one part: those of a warpgroup
COLUMN_BYTES = 64  # of a column of a tile: both consumers' sums and squares, of four warps each


TILES = tuple(
    Tile("conv2d_wgmma", WGMMA_ROWS * cluster, n, SLAB, n, stages, column_bytes=COLUMN_BYTES * n)
    for n, stages in STAGES.items()
    for cluster in (1, 2)
)


def built_for(tile: Tile, conv: Convolution, scattered: bool = False, moments: bool = False) -> Kernel:
    """Return the kernel that computes ``conv`` in ``tile``.

    Parameters
    ----------
    scattered : bool
        Whether the pixels of dx are apart from each other, those of one class.
    moments : bool
        Whether it also writes mean and squared differences of columns (kernels/products/epilogue.cuh).
    """
    macros = {"EPILOGUE": EPILOGUES.index(conv.epilogue), "OUTPUT_BF16": int(conv.outputs == "bf16")}
    macros |= {"TILE_N": tile.n, "STAGES": tile.stages, "CLUSTER": tile.cluster}
    if moments:
        macros["COLUMN_MOMENTS"] = 1
    if conv.kind == "dw":
        return kernel("conv2d_dw_wgmma.cu", macros)
    return kernel("conv2d_wgmma.cu", macros | {"CONVOLUTION": KINDS.index(conv.kind), "SCATTER": int(scattered)})


@dataclass(frozen=True)
class Part:
    """One launch: up to four classes of dx, or all of another convolution.

    Attributes
    ----------
    classes : Classes
        Their taps are counted in the order in which they lie in the images.
    shapes : tuple of Shape
        The product of each class. For forward and dx, k counts whole boxes of channels.
    scattered : bool
        Whether its pixels are apart from each other in out.
    """

    conv: Convolution
    classes: Classes
    shapes: tuple[Shape, ...]
    scattered: bool

    @property
    def shape(self) -> Shape:
        """The largest product."""
        return replace(self.shapes[0], m=max(s.m for s in self.shapes), k=max(s.k for s in self.shapes))

    def images_maps(self, address: int) -> tuple[Im2colMap, ...]:
        """Return the maps of the gathered images, which begin at ``address``: of one class, or of MAPS."""
        maps = [self._map(address, *axes) for axes in self.classes.each()]
        return (*maps, *maps[:1] * (MAPS - len(maps))) if self.scattered else tuple(maps)

    def _map(self, address: int, vertical: Axis, horizontal: Axis) -> Im2colMap:
        conv, axes = self.conv, (horizontal, vertical)
        (height, width), channels = conv.gathered
        lower = axes[0].first, axes[1].first
        last = [low + (axis.positions - 1) * axis.scale for low, axis in zip(lower, axes, strict=True)]
        upper = last[0] - (width - 1), last[1] - (height - 1)
        pixel = 2 * channels
        box = BOX, BOX if conv.kind == "dw" else WGMMA_ROWS
        size, strides = (channels, width, height, conv.images), (pixel, width * pixel, height * width * pixel)
        return Im2colMap(address, 2, size, strides, box, lower, upper, (axes[0].scale, axes[1].scale))

    def factor_map(self, address: int, tile: Tile) -> TensorMap:
        """Return the map of the other factor: w, a matrix (C, O) for each tap, or dy (N OH OW, O) for dw."""
        conv, row = self.conv, 2 * self.conv.num_outputs
        if conv.kind == "dw":
            size = conv.num_outputs, conv.images * prod(conv.output), 1
        else:
            size = conv.num_outputs, conv.channels, prod(conv.kernel)
        rows = tile.n if conv.kind == "dx" else BOX
        return TensorMap(address, 2, size, row, size[1] * row, (BOX, rows // tile.cluster))

    def maps(self, tile: Tile, a: int, b: int, out: int, c: int) -> tuple[tuple[TensorMap | Im2colMap, ...], ...]:
        """Return the maps of each argument before the record, of the arrays that begin at these addresses."""
        return self.images_maps(a), (self.factor_map(b, tile),)

    def slab(self, tile: Tile, num_processors: int) -> int:
        """Return the rows of one column sum, or of the moments of one part; 0 where none are written."""
        return tile.slab

    def launch(self, tile: Tile, splits: int, num_processors: int) -> Launch:
        """Return the launch of as many clusters as there is work for, or as fit."""
        tiles = sum(ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) for shape in self.shapes)
        clusters = min(tiles * splits, max(1, num_processors // tile.cluster))
        shared_bytes = tile.shared_bytes - tile.column_bytes * (self.conv.kind == "dw")  # dw has no sums of columns
        return Launch((clusters * tile.cluster, 1, 1), (tile.threads, 1, 1), shared_bytes, tile.cluster)


@lru_cache(maxsize=4096)
def parts_of(conv: Convolution) -> tuple[Part, ...]:
    """Return the launches of ``conv``; none where wgmma does not cover it.

    It covers bf16 in one group, with channels and outputs in multiples of 8 (rows of 16 bytes), and for dw channels in
    multiples of 64; strides up to 8, and paddings and windows of common sizes (see ``Im2colMap``).
    """
    if conv.inputs != "bf16" or conv.groups != 1 or conv.channels % 8 or conv.num_outputs % 8:
        return ()
    if min(conv.images, *conv.output) < 1 or (conv.kind == "dw" and conv.channels % GROUP_ROWS):
        return ()
    if conv.images * max(prod(conv.output), prod(conv.size)) > MOST_ACROSS:
        return ()
    parts = [upward_part(conv, classes) for classes in conv.classes()]
    return tuple(parts) if all(map(_fits, parts)) else ()


def _upward(axis: Axis) -> Axis:
    """Return ``axis`` with taps in the order in which they lie in the images: offsets of a copy are not negative."""
    if axis.step >= 0:
        return axis
    back = axis.taps - 1
    return replace(
        axis,
        first=axis.first + back * axis.step,
        step=-axis.step,
        first_tap=axis.first_tap + back * axis.tap_step,
        tap_step=-axis.tap_step,
    )


def upward_part(conv: Convolution, classes: Classes) -> Part:
    """Return the launch of ``classes``, their taps in the order in which they lie in the images."""
    upward = Classes(*(tuple(map(_upward, axes)) for axes in (classes.vertical, classes.horizontal)))
    shapes = [conv.shape(Classes((v,), (h,))) for v, h in upward.each()]
    if conv.kind != "dw":
        taps = [v.taps * h.taps for v, h in upward.each()]
        shapes = [replace(s, k=n * ceil_div(conv.depth, BOX) * BOX) for s, n in zip(shapes, taps, strict=True)]
    scattered = any(axis.place_step > 1 for axis in (*upward.vertical, *upward.horizontal))
    return Part(conv, upward, tuple(shapes), scattered)


def _fits(part: Part) -> bool:
    """Return whether the copy engine takes the windows of a part."""
    axes = *part.classes.vertical, *part.classes.horizontal
    if any((axis.taps - 1) * axis.step > MOST_OFFSET for axis in axes):
        return False
    try:
        part.images_maps(0)
    except ValueError:
        return False
    return True
