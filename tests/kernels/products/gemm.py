"""Products run by the kernels: gemm_simt, gemm_mma and gemm_wgmma, and the sums after them where K is cut."""

from collections.abc import Callable, Sequence

import numpy as np

from mpitrain.device import Im2colMap, TensorMap
from mpitrain.kernels.stream_k import STEP, StreamK, split_k, stream_k, whole_tiles
from tests.kernels import cpu
from tests.kernels.cpu import Kernels
from tests.kernels.products.cases import EPILOGUES, Buffer, Case, Product, Variant

CLUSTERS = 3  # of the GPU on which gemm_wgmma is launched


def run(kernels: Kernels, variant: Variant, case: Case, clusters: int = CLUSTERS) -> float:
    """Run one case, with the sum of its parts after it where K is cut, and return its error."""
    if variant.kernel == "gemm_wgmma":
        return run_persistent(kernels, variant, case, clusters).error()
    product = Product(variant, case, slab=32 if case.splits > 1 else kernels.macro("WARP_M"))
    launch_tiles(kernels, variant, case, product)
    if case.splits > 1:
        sum_parts(variant, case, product)
    return product.error()


def run_persistent(
    kernels: Kernels,
    variant: Variant,
    case: Case,
    clusters: int = CLUSTERS,
    edit_sum: Callable[[str], str] | None = None,
) -> Product:
    """Run gemm_wgmma, and gemm_sum_stream (its text changed) after it, and return what they made."""
    stream = shared_out(kernels, variant, case)
    product = Product(variant, case, slab=16, num_partials=max(1, stream.partial_bytes // 4))
    launch_persistent(kernels, variant, case, product, stream, clusters)
    if stream.shared:
        sum_stream(variant, case, product, stream, edit_sum)
    return product


def shared_out(kernels: Kernels, variant: Variant, case: Case) -> StreamK:
    """Return the work of gemm_wgmma's clusters."""
    tile = variant.cluster * kernels.macro("TILE_M"), kernels.macro("TILE_N")
    tiles, steps = -(-case.m // tile[0]) * -(-case.n // tile[1]) * case.batch, max(1, -(-case.k // STEP))
    shares = stream_k(tiles, steps, case.workers, tile) if case.workers else None
    if shares is not None:
        return shares
    return split_k(tiles, steps, case.splits, tile) if case.splits > 1 else whole_tiles(tiles, steps, tile)


def launch_tiles(kernels: Kernels, variant: Variant, case: Case, product: Product) -> None:
    """Launch gemm_simt or gemm_mma: a block for each tile."""
    tile_m, tile_n = kernels.macro("TILE_M"), kernels.macro("TILE_N")
    kernels.launch(
        variant.kernel,
        grid=(-(-case.m // tile_m) * -(-case.n // tile_n), case.splits, case.batch),
        block=(tile_m // kernels.macro("WARP_M") * (tile_n // kernels.macro("WARP_N")) * 32, 1, 1),
        shared_bytes=kernels.macro("STAGES") * (tile_m + tile_n) * 128 if variant.kernel == "gemm_mma" else 0,
        arguments=[product.arguments()],
        memory=product.memory,
        seed=case.seed,
    )


TENSOR_MAP = np.dtype(
    [
        ("base", np.uint64),
        ("size", np.uint64, 4),
        ("stride", np.uint64, 4),
        ("box", np.uint32, 4),
        ("element_bytes", np.uint32),
        ("rank", np.uint32),
        ("im2col", np.int32),
        ("lower", np.int32, 2),
        ("upper", np.int32, 2),
        ("step", np.int32, 2),
    ],
    align=True,
)


def tensor_map(buffer: Buffer, box: tuple[int, int]) -> np.ndarray:
    """Return what the shim takes for a tensor map: boxes of ``box`` (elements of a row, rows) of a matrix as stored."""
    batch, rows, cols = buffer.values.shape
    size = buffer.values.itemsize
    return shim_map(buffer.address, size, (cols, rows, batch), (size, buffer.ld * size, buffer.stride * size), box)


def shim_map(
    base: int, element_bytes: int, size: Sequence[int], stride: Sequence[int], box: Sequence[int]
) -> np.ndarray:
    """Return the map of three or four dims; boxes have 1 of the dims that are not named."""
    more = 4 - len(size)
    record = np.zeros((), TENSOR_MAP)
    record["base"], record["element_bytes"], record["rank"] = base, element_bytes, len(size)
    record["size"], record["stride"] = [*size, *[1] * more], [*stride, *[0] * more]
    record["box"] = [*box, *[1] * (4 - len(box))]
    return record


def shim_im2col_map(planned: Im2colMap) -> np.ndarray:
    """Return the same struct for the windows of a convolution."""
    strides = planned.element_bytes, *planned.strides
    record = shim_map(planned.address, planned.element_bytes, planned.size, strides, planned.box)
    record["im2col"] = 1
    record["lower"], record["upper"], record["step"] = planned.lower, planned.upper, planned.step
    return record


def shim_planned_map(planned: TensorMap | Im2colMap) -> np.ndarray:
    """Return the struct of any planned map."""
    if isinstance(planned, Im2colMap):
        return shim_im2col_map(planned)
    strides = planned.element_bytes, *planned.strides
    return shim_map(planned.address, planned.element_bytes, planned.size, strides, planned.box)


def launch_persistent(
    kernels: Kernels, variant: Variant, case: Case, product: Product, stream: StreamK, clusters: int
) -> None:
    """Launch gemm_wgmma on a GPU of so many clusters."""
    tile_m, tile_n, stages, buffers = (kernels.macro(name) for name in ("TILE_M", "TILE_N", "STAGES", "BUFFERS"))
    box = 64 if variant.inputs == "bf16" else 32
    a_map = tensor_map(product.a, (box, box if variant.transpose_a else tile_m))
    b_map = tensor_map(product.b, (box, tile_n // variant.cluster if variant.transpose_b else box))
    out_box = 64 if variant.outputs == "bf16" else 32, 16
    outputs = [_output_map(written, out_box, a_map) for written in (product.out, product.pre)]
    b_rows = tile_n if variant.transpose_b else -(-tile_n // 64) * 64
    kernels.launch(
        "gemm_wgmma",
        grid=(clusters * variant.cluster, 1, 1),
        block=(384, 1, 1),
        shared_bytes=stages * ((tile_m + b_rows) * 128 + 16) + 8 * buffers * (16 * 128 + 8) + 1024,
        arguments=[a_map, b_map, *outputs, product.arguments(), stream.record],
        memory=product.memory,
        seed=case.seed,
    )


def _output_map(buffer: Buffer, box: tuple[int, int], other: np.ndarray) -> np.ndarray:
    """Return the map of an output; in its place, where the copy engine cannot write it, the other map."""
    size, (batch, *_) = buffer.values.itemsize, buffer.values.shape
    places = buffer.address, buffer.ld * size, buffer.stride * size * (batch > 1)
    return other if any(place % 16 for place in places) else tensor_map(buffer, box)


def sum_stream(
    variant: Variant, case: Case, product: Product, stream: StreamK, edit: Callable[[str], str] | None = None
) -> None:
    """Run gemm_sum_stream."""
    macros = {"EPILOGUE": EPILOGUES.index(variant.epilogue), "OUTPUT_BF16": int(variant.outputs == "bf16")}
    warps = stream.shared * (stream.tile_m // 16) * (stream.tile_n // 32)
    cpu.build("gemm_sum_stream.cu", edit, **macros).launch(
        "gemm_sum_stream",
        grid=(-(-warps // 8), 1, 1),
        block=(256, 1, 1),
        arguments=[product.arguments(), stream.record],
        memory=product.memory,
        seed=case.seed,
    )


def sum_parts(variant: Variant, case: Case, product: Product) -> None:
    """Run gemm_sum."""
    macros = {"EPILOGUE": EPILOGUES.index(variant.epilogue), "OUTPUT_BF16": int(variant.outputs == "bf16")}
    grid = (-(-case.m // 32), -(-case.n // 128), case.batch)
    options = {"arguments": [product.arguments()], "memory": product.memory, "seed": case.seed}
    cpu.build("gemm_sum.cu", **macros).launch("gemm_sum", grid=grid, block=(256, 1, 1), **options)
