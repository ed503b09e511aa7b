"""Launches of convolutions: the tile and the number of parts of K, by measurement of this shape, else by a model.

The table is that of products (planner.py). The model is its model of waves of blocks, where the blocks of all classes
of dx count, each as deep as its own K; and no launch is faster than the memory:

    time = max(waves * (latency + max(tile * mean depth / (rate * share), fetch)), bytes / bandwidth)
           + [splits > 1] (launch + 8 splits M N groups / bandwidth)
    fetch = mean depth * (rows + columns / cluster) * element bytes / (L2 bandwidth / multiprocessors)

A block fetches its tiles from L2, each pixel once for each tap, which bounds the time of narrow tiles. L2 is taken for
twice as fast as the memory.

Convolutions line by line (convolution_lines.py) have a model of their own: lines of a consumer, each by its products.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from ..errors import UserError
from . import convolution_lines, convolution_wgmma
from .convolution import KINDS, Classes, Convolution
from .convolution_wgmma import Part
from .gemm import EPILOGUES, Shape, Tile
from .gemm_plan import MOST_SPLITS, SPLIT_STEP, SUM_ROWS, SUM_THREADS, split_choices, sum_grid
from .kernel import Kernel, arch_number, kernel
from .plan import MOST_ACROSS, Launch, ceil_div, fits_grid
from .planner import Table, find_table, read_table

TILES = (
    Tile("conv2d_simt", 128, 64, 64, 32),
    Tile("conv2d_simt", 64, 64, 32, 32),
    Tile("conv2d_simt", 32, 32, 32, 16),
    Tile("conv2d_mma", 128, 128, 64, 32, stages=3),
    Tile("conv2d_mma", 128, 64, 64, 32, stages=4),
    Tile("conv2d_mma", 64, 64, 32, 32, stages=4),
    *convolution_wgmma.TILES,
    *convolution_lines.TILES,
)
L2_RATE = 2  # of the memory's
MOST_WAVES = 4  # of blocks, that parts of K fill


@dataclass(frozen=True)
class ConvolutionPlan:
    """The launches of a convolution: a kernel for each set of classes, and gemm_sum after it where K is split.

    Attributes
    ----------
    launches : tuple of (Classes, Launch)
    k_split : int
        Depth of each part of K.
    slab : int
        The number of rows of one column sum; 0 if this kernel writes none for these sizes.
    parts : tuple of Part
        For a kernel that takes tensor maps before its record: of each launch.
    """

    tile: Tile
    kernel: Kernel
    launches: tuple[tuple[Classes, Launch], ...]
    splits: int
    k_split: int
    sum_kernel: Kernel | None
    sum_launch: Launch | None
    slab: int
    parts: tuple[Part, ...] = ()

    def shape(self, conv: Convolution, number: int = 0) -> Shape:
        """Return the product of a group in launch ``number``."""
        return self.parts[number].shape if self.parts else conv.shape(self.launches[number][0])


def covers(conv: Convolution) -> bool:
    """Return whether the kernels' numbers of 32 bits suffice: for places in an image, with its border, and in w."""
    (height, width), channels = conv.gathered
    reach = [2 * (p + k * d) for p, k, d in zip(conv.padding, conv.kernel, conv.dilation, strict=True)]
    image = (height + reach[0]) * (width + reach[1]) * channels
    weights = prod(conv.kernel) * conv.channels // conv.groups * conv.num_outputs
    pixels = conv.images * max(prod(conv.size), prod(conv.output))
    taps = prod(conv.kernel) * conv.depth
    return max(image, weights, pixels + MOST_SPLITS * SPLIT_STEP, taps + MOST_SPLITS * SPLIT_STEP) <= MOST_ACROSS // 2


def takes(tile: Tile, conv: Convolution, arch: str) -> bool:
    """Return whether ``tile`` can compute ``conv`` on ``arch``."""
    if tile in convolution_lines.TILES:
        return arch == "sm_90a" and convolution_lines.tile_of(conv) == tile and convolution_lines.covers(conv)
    return tile.takes(conv.shape(), arch) and (not tile.is_persistent or bool(parts_of(tile, conv)))


def parts_of(tile: Tile, conv: Convolution) -> tuple[Part, ...]:
    """Return the launches of a tile of wgmma; none of others, or where it does not cover ``conv``."""
    if tile in convolution_lines.TILES:
        return convolution_lines.parts_of(conv)
    return convolution_wgmma.parts_of(conv) if tile.is_persistent else ()


def built_for(tile: Tile, conv: Convolution, elementwise: bool = False, moments: bool = False) -> Kernel:
    """Return the kernel that computes ``conv`` in ``tile``, and with ``moments`` those of slabs of its rows."""
    if tile in convolution_lines.TILES:
        return convolution_lines.built_for(conv, moments)
    if tile.is_persistent:
        return convolution_wgmma.built_for(tile, conv, any(part.scattered for part in parts_of(tile, conv)), moments)
    macros = {"CONVOLUTION": KINDS.index(conv.kind), "EPILOGUE": EPILOGUES.index(conv.epilogue)}
    macros |= {"TILE_M": tile.m, "TILE_N": tile.n, "WARP_M": tile.warp_m, "WARP_N": tile.warp_n}
    macros |= {"COLUMN_MOMENTS": 1} if moments else {}
    if tile.kernel == "conv2d_simt":
        return kernel("conv2d_simt.cu", macros | {"TILE_K": 8})
    macros |= {"STAGES": tile.stages, "ELEMENTWISE": int(elementwise or not conv.in_chunks)}
    macros |= {"INPUT_BF16": int(conv.inputs == "bf16"), "OUTPUT_BF16": int(conv.outputs == "bf16")}
    return kernel("conv2d_mma.cu", macros)


def make_plan(
    conv: Convolution,
    tile: Tile,
    splits: int,
    elementwise: bool = False,
    num_processors: int = 132,
    moments: bool = False,
) -> ConvolutionPlan:
    """Return the launches of ``conv`` in ``tile`` with K cut into about ``splits`` parts.

    ``elementwise``: the arrays are not aligned to 16 bytes. ``moments``: the last launch writes those of slabs, too.
    """
    parts = parts_of(tile, conv)
    shape = parts[0].shape if parts else conv.shape(conv.classes()[0])
    k_split = ceil_div(ceil_div(max(1, shape.k), max(1, splits)), SPLIT_STEP) * SPLIT_STEP
    splits = max(1, ceil_div(shape.k, k_split))
    if parts:
        launches = tuple((part.classes, part.launch(tile, splits, num_processors)) for part in parts)
    else:
        launches = tuple((classes, _launch(conv, classes, tile, splits)) for classes in conv.classes())
    if splits == 1:
        slab = parts[0].slab(tile, num_processors) if parts else tile.slab
        built = built_for(tile, conv, elementwise, moments and slab > 0)
        return ConvolutionPlan(tile, built, launches, 1, k_split, None, None, slab, parts)
    built = built_for(tile, conv, elementwise)
    macros = {"EPILOGUE": EPILOGUES.index(conv.epilogue), "OUTPUT_BF16": int(conv.outputs == "bf16")}
    macros |= {"COLUMN_MOMENTS": 1} if moments else {}
    summed = kernel("gemm_sum.cu", macros), Launch(sum_grid(shape), (SUM_THREADS, 1, 1))
    return ConvolutionPlan(tile, built, launches, splits, k_split, *summed, SUM_ROWS, parts)


def _launch(conv: Convolution, classes: Classes, tile: Tile, splits: int) -> Launch:
    of_class = conv.shape(classes)
    tiles = ceil_div(of_class.m, tile.m) * ceil_div(of_class.n, tile.n)
    return Launch((tiles, splits, classes.num * conv.groups), (tile.threads, 1, 1), tile.shared_bytes)


def convolution_key(conv: Convolution, arch: str) -> str:
    """Return the name of a convolution in the table.

    >>> convolution_key(Convolution("dx", 2, (8, 8), 16, 32, (3, 3), (2, 2), (1, 1)), "sm_80")
    '80 fp32 dx 2x8x8x16 3x3x32 s2x2 p1x1 d1x1 g1'
    """
    images = f"{conv.images}x{conv.size[0]}x{conv.size[1]}x{conv.channels} {conv.kernel[0]}x{conv.kernel[1]}"
    window = " ".join(
        f"{name}{a}x{b}" for name, (a, b) in zip("spd", (conv.stride, conv.padding, conv.dilation), strict=True)
    )
    return f"{arch_number(arch)} {conv.inputs} {conv.kind} {images}x{conv.num_outputs} {window} g{conv.groups}"


@lru_cache(maxsize=4096)
def plan_convolution(
    conv: Convolution, arch: str, num_processors: int, elementwise: bool = False, moments: bool = False
) -> ConvolutionPlan | None:
    """Return the plan (``make_plan``) for ``conv`` on a GPU of ``arch``; None if the kernels do not cover it.

    Raises
    ------
    UserError
        If no kernel multiplies these types on that architecture.
    """
    if not covers(conv) or not all(fits_grid(launch_grid(conv, tile)) for tile in TILES):
        return None
    tile, splits = choose_convolution(conv, arch, num_processors, find_table(arch), elementwise)
    return make_plan(conv, tile, splits, elementwise, num_processors, moments)


def launch_grid(conv: Convolution, tile: Tile) -> tuple[int, int, int]:
    """Return the largest grid of ``tile`` without splits."""
    shapes = [(conv.shape(classes), classes.num) for classes in conv.classes()]
    tiles = max(ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) for shape, _ in shapes)
    return tiles, 1, max(num for _, num in shapes) * conv.groups


def choose_convolution(
    conv: Convolution, arch: str, num_processors: int, table: Table, elementwise: bool = False
) -> tuple[Tile, int]:
    """Return the tile and the number of parts of K."""
    tiles = [tile for tile in TILES if takes(tile, conv, arch) and not (elementwise and tile.is_persistent)]
    if not tiles:
        raise UserError(f"there is no convolution of {conv.inputs} for {arch}: take --precision fp32")
    known = table.shapes.get(convolution_key(conv, arch))
    for tile in tiles:
        if known is not None and tile.name == known[0]:
            return tile, known[1]
    choices = [(tile, splits) for tile in tiles for splits in splits_of(conv, tile, num_processors)]
    return min(choices, key=lambda choice: microseconds(conv, choice[0], choice[1], num_processors, table))


def splits_of(conv: Convolution, tile: Tile, num_processors: int) -> tuple[int, ...]:
    """Return the numbers of parts of K to consider: powers of 2, and those that fill whole waves of blocks.

    Only 1 where rows of out are those of several classes, or line by line.
    """
    launches = conv.classes()
    if len(launches) > 1 or launches[0].num > 1 or tile in convolution_lines.TILES:
        return (1,)
    shape = conv.shape(launches[0])
    powers = split_choices(shape)
    tiles = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) * shape.batch
    at_once = num_processors // tile.cluster
    whole = {waves * at_once // tiles for waves in range(1, MOST_WAVES + 1)}
    return tuple(sorted({*powers, *(splits for splits in whole if 1 < splits <= powers[-1])}))


def microseconds(conv: Convolution, tile: Tile, splits: int, num_processors: int, table: Table) -> float:
    """Return the time that the model predicts."""
    share = table.shares.get(tile.name) or read_table().shares[tile.name]  # an older table has no convolutions
    if tile in convolution_lines.TILES:
        time = convolution_lines.microseconds(conv, tile, num_processors, table, share)
        return max(time, moved_bytes(conv) / table.bytes_per_us)
    parts = parts_of(tile, conv)
    each = [shape for part in parts for shape in part.shapes]
    each = each or [(conv.shape(Classes((v,), (h,)))) for classes in conv.classes() for v, h in classes.each()]
    counts = [(ceil_div(s.m, tile.m) * ceil_div(s.n, tile.n) * s.batch * splits, s.k / splits) for s in each]
    blocks = sum(count for count, _ in counts)
    depth = sum(count * k for count, k in counts) / max(1, blocks)
    rate = table.rates[conv.inputs] * share
    rows = tile.m // tile.cluster
    waves = ceil_div(blocks, max(1, num_processors // tile.cluster))
    fetched = (2 if conv.inputs == "bf16" else 4) * depth * (rows + tile.n / tile.cluster)
    fetch = fetched * num_processors / (L2_RATE * table.bytes_per_us)
    block = table.latency_us + max(rows * tile.n * depth / rate, fetch)
    time = max(waves * block, moved_bytes(conv) / table.bytes_per_us)
    time += ((len(parts) or len(conv.classes())) - 1) * table.launch_us
    if splits > 1:
        shape: Shape = each[0]
        time += table.launch_us + 8 * splits * shape.m * shape.n * shape.batch / table.bytes_per_us
    return time


def moved_bytes(conv: Convolution) -> int:
    """Return the bytes of x, w and y, each once; without the pixels of x that a stride steps over."""
    seen = 1.0
    if conv.kind != "dx":
        seen = prod(min(1.0, kernel / stride) for kernel, stride in zip(conv.kernel, conv.stride, strict=True))
    sizes = {
        "x": int(seen * conv.images * prod(conv.size) * conv.channels),
        "w": prod(conv.kernel) * conv.channels // conv.groups * conv.num_outputs,
        "y": conv.images * prod(conv.output) * conv.num_outputs,
    }
    result = {"forward": "y", "dx": "x", "dw": "w"}[conv.kind]
    width = dict.fromkeys(sizes, 2 if conv.inputs == "bf16" else 4)
    width[result] = 2 if conv.outputs == "bf16" else 4
    return sum(width[name] * size for name, size in sizes.items())
