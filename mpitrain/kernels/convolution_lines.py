"""Convolutions of 3 x 3 taps and few channels, line by line: what the kernel covers, its tiles, maps and time.

See kernels/conv2d_lines_wgmma.cu. 64 places across are a line of one image, or of several narrow ones side by side; a
block has a range of lines for each of its two consumers, and keeps the filters of up to 64 outputs.
"""

from dataclasses import dataclass
from functools import lru_cache

from ..device import Im2colMap, TensorMap
from .convolution import KINDS, Convolution
from .convolution_wgmma import Part, upward_part
from .gemm import BARRIER_BYTES, BOX, CHUNK_BYTES, CHUNK_ROWS, EPILOGUES, WGMMA_ROWS, WGMMA_WARPS, Tile
from .kernel import Kernel, kernel
from .plan import MOST_ACROSS, Launch, Three, ceil_div, shared_bytes_limit
from .planner import Table

KERNEL = "conv2d_lines_wgmma"
TAPS = 3
PLACES = 64  # across: the rows of one wgmma
CONSUMERS = 2
STEP = 16  # of k, in one wgmma
MOST_DEPTH = 128
GROUPS = (1, 2, 4, 8, 16, 32, 64, 128)  # channels
MOST_STAGES = 6
ROW_BYTES = 128
SWIZZLE = 1024
LINE_US = 0.4  # that a line takes at least, from its arrival to its results
COMMON = (16, 32), (32, 16), (64, 8), (64, 56), (128, 28), (128, 56)  # channels, and pixels across
TILES = tuple(Tile(KERNEL, WGMMA_ROWS, n, 0, n, 2) for n in (16, 32, 64))


@dataclass(frozen=True)
class Work:
    """The lines of a convolution.

    Attributes
    ----------
    width : int
        Places of an image in the 64 across.
    images : int
        That lie side by side.
    strips : int
        In which a line is cut.
    total : int
        Lines of out of all of them.
    """

    width: int
    images: int
    strips: int
    total: int

    @classmethod
    def of(cls, conv: Convolution) -> "Work":
        """Return the lines of ``conv``."""
        height, across = conv.size if conv.kind == "dx" else conv.output
        width = next((n for n in (8, 16, 32) if across <= n), PLACES)
        images, strips = PLACES // width, ceil_div(across, width)
        return cls(width, images, strips, ceil_div(conv.images, images) * strips * height)

    def per_consumer(self, consumers: int) -> int:
        """Return the lines of out of one consumer; the last may have less."""
        return ceil_div(self.total, consumers)


def covers(conv: Convolution) -> bool:
    """Return whether the kernel computes ``conv``: 3 x 3 in bf16, stride 1, at most 128 channels to sum over."""
    window = conv.kernel, conv.stride, conv.dilation
    if window != ((TAPS, TAPS), (1, 1), (1, 1)) or not _covers_groups(conv) or conv.kind == "dw":
        return False
    if (conv.inputs, conv.outputs) != ("bf16", "bf16") or conv.epilogue not in ("none", "relu"):
        return False
    if conv.channels % 8 or conv.num_outputs % 8 or not 1 <= conv.depth <= MOST_DEPTH:
        return False
    if min(conv.images, conv.width, *conv.size, *conv.output) < 1 or max(conv.padding) > MOST_DEPTH:
        return False
    return Work.of(conv).total <= MOST_ACROSS and _stages(conv) >= 2


def _covers_groups(conv: Convolution) -> bool:
    """Return whether groups are as wide in y as in x, and 64 columns have whole ones, or belong to one."""
    return conv.groups == 1 or (conv.depth == conv.width and conv.depth in GROUPS and conv.channels % BOX == 0)


def columns_of(conv: Convolution) -> int:
    """Return the channels of the result, of all groups."""
    return conv.width * conv.groups


def tile_of(conv: Convolution) -> Tile:
    """Return the narrowest tile that has all columns of ``conv``, or the widest."""
    return next((tile for tile in TILES if columns_of(conv) <= tile.n), TILES[-1])


def depth_of(conv: Convolution) -> int:
    """Return the channels of a tap, in whole steps of wgmma; of narrow groups, those of 64 columns."""
    return ceil_div(conv.depth, STEP) * STEP if conv.groups == 1 else max(BOX, conv.depth)


def _bytes(conv: Convolution, stages: int) -> int:
    """Return the dynamic shared memory of a block: the filters, the buffers of results and two rings of lines."""
    n, work, depth = tile_of(conv).n, Work.of(conv), depth_of(conv)
    rows = n * ceil_div(depth, BOX) if conv.kind == "dx" else depth
    line = ceil_div(work.images * (work.width + TAPS - 1) * ROW_BYTES, SWIZZLE) * SWIZZLE
    ring = ceil_div(stages * (line + 2 * BARRIER_BYTES), SWIZZLE) * SWIZZLE
    fixed = TAPS * TAPS * rows * ROW_BYTES + WGMMA_WARPS * (CHUNK_BYTES + BARRIER_BYTES) + 4 * n
    fixed += BARRIER_BYTES + SWIZZLE
    return fixed + CONSUMERS * ring


def _stages(conv: Convolution) -> int:
    """Return the lines (or halves of lines of more than 64 channels) of a ring, as many as fit."""
    limit = shared_bytes_limit(90)
    return next((stages for stages in range(MOST_STAGES, 0, -1) if _bytes(conv, stages) <= limit), 0)


def built_for(conv: Convolution, moments: bool = False) -> Kernel:
    """Return the kernel that computes ``conv``, and with ``moments`` those of slabs (kernels/products/epilogue.cuh)."""
    macros = {"CONVOLUTION": KINDS.index(conv.kind), "EPILOGUE": EPILOGUES.index(conv.epilogue)}
    macros |= {"TILE_N": tile_of(conv).n, "DEPTH": depth_of(conv), "STAGES": _stages(conv)}
    macros |= {"WIDTH": Work.of(conv).width} | ({"COLUMN_MOMENTS": 1} if moments else {})
    macros |= {"GROUP_CHANNELS": conv.depth} if conv.groups > 1 else {}
    return kernel(f"{KERNEL}.cu", macros)


def common_kernels() -> list[Kernel]:
    """Return the kernels for the layers of common networks, to build ahead; others are built when first used."""
    found = []
    for channels, across in COMMON:
        size = across, across
        for kind, moments in (("forward", False), ("forward", True), ("dx", False)):
            conv = Convolution(kind, 1, size, channels, channels, (3, 3), (1, 1), (1, 1), (1, 1), 1, "bf16", "bf16")
            found.append(built_for(conv, moments))
    return found


class LinePart(Part):
    """The launch of a convolution line by line."""

    @property
    def work(self) -> Work:
        """Its lines."""
        return Work.of(self.conv)

    def maps(self, tile: Tile, a: int, b: int, out: int, c: int) -> tuple[tuple[TensorMap | Im2colMap, ...], ...]:
        """Return the maps of the gathered images, of w, of the result and of C, which begin at these addresses."""
        conv, work = self.conv, self.work
        size, channels = conv.gathered
        out_size = conv.size if conv.kind == "dx" else conv.output
        pixels = min(CHUNK_ROWS, work.width)
        row = 2 * conv.num_outputs
        channels_of_w = conv.channels // conv.groups
        taps = (conv.num_outputs, channels_of_w, TAPS * TAPS), row, channels_of_w * row
        rows = tile.n if conv.kind == "dx" else depth_of(conv)
        return (
            (_images(a, conv.images, size, channels, (BOX, work.width + TAPS - 1, 1, work.images)),),
            (TensorMap(b, 2, *taps, (BOX, rows)),),
            *(
                (_images(each, conv.images, out_size, columns_of(conv), (BOX, pixels, 1, CHUNK_ROWS // pixels)),)
                for each in (out, c)
            ),
        )

    def launch(self, tile: Tile, splits: int, num_processors: int) -> Launch:
        """Return the launch of as many blocks as there are lines for, or as fit."""
        return Launch(_grid(self.conv, num_processors), (tile.threads, 1, 1), _bytes(self.conv, _stages(self.conv)))

    def slab(self, tile: Tile, num_processors: int) -> int:
        """Return the pixels of a slab, those of one consumer; 0 where sizes differ: then none are written."""
        conv, work = self.conv, self.work
        across = self.classes.horizontal[0].positions
        if conv.images % work.images or (work.strips > 1 and across % work.width):
            return 0
        return work.per_consumer(_consumers(conv, num_processors)) * work.images * min(across, work.width)


def _images(address: int, images: int, size: tuple[int, int], channels: int, box: tuple[int, ...]) -> TensorMap:
    """Return the map of images with dims (channels, width, height, images)."""
    (height, width), pixel = size, 2 * channels
    line = width * pixel
    return TensorMap(address, 2, (channels, width, height, images), pixel, line, box, height * line)


def _grid(conv: Convolution, num_processors: int) -> Three:
    columns = ceil_div(columns_of(conv), tile_of(conv).n)
    return columns * max(1, min(num_processors // columns, ceil_div(Work.of(conv).total, CONSUMERS))), 1, 1


def _consumers(conv: Convolution, num_processors: int) -> int:
    """Return the consumers of one tile's columns."""
    return CONSUMERS * _grid(conv, num_processors)[0] // ceil_div(columns_of(conv), tile_of(conv).n)


@lru_cache(maxsize=4096)
def parts_of(conv: Convolution) -> tuple[LinePart, ...]:
    """Return the one launch of ``conv``; none where the kernel does not cover it."""
    if not covers(conv):
        return ()
    part = upward_part(conv, conv.classes()[0])
    return (LinePart(conv, part.classes, part.shapes, part.scattered),)


def lines_read(conv: Convolution, num_processors: int) -> int:
    """Return the lines that a consumer reads: those of its range, two more, and those between two images."""
    work, (height, _) = Work.of(conv), conv.gathered[0]
    per, first = work.per_consumer(_consumers(conv, num_processors)), parts_of(conv)[0].classes.vertical[0].first
    outputs = parts_of(conv)[0].classes.vertical[0].positions
    between = max(height - first, outputs) - outputs
    return per + TAPS - 1 + ceil_div(per - 1, outputs) * between


def microseconds(conv: Convolution, tile: Tile, num_processors: int, table: Table, share: float) -> float:
    """Return the time of the lines of both consumers, and of the first ones to arrive, that the model predicts.

    ``share``: of the peak of a multiprocessor's tensor cores, that the tile reaches.
    """
    line = CONSUMERS * PLACES * tile.n * TAPS * TAPS * depth_of(conv) / (table.rates[conv.inputs] * share)
    waves = ceil_div(_grid(conv, num_processors)[0], max(1, num_processors))
    return waves * (table.latency_us + lines_read(conv, num_processors) * max(line, LINE_US))
