"""Normalization of rows on a GPU: one launch forward, two backward, with the sums of residual connections in them."""

from collections.abc import Mapping
from typing import Any

from ...device import device_of
from ...kernels.kernel import Kernel, arch_number, kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div, shared_bytes_limit
from ..gradient import Gradient
from ..workspace import Keep, workspace
from .elements import fitting, in_layout_of, is_bf16, macros_of
from .launch import piece_of, values
from .reduce import put_parts

WARPS = (1, 2, 3, 4, 6, 8, 16)
"""Warps of a row; with one, 8 rows share a block."""

PIECES = (1, 2, 4)
"""Pieces of a row in each thread, in the widest blocks."""

BLOCK_ROWS = 8
STATIC_BYTES = 1024  # of shared memory, at most, that a block has besides the sums of long rows
BACKWARD_THREADS = 768
"""Threads of a multiprocessor in backward: enough loads under way, and few blocks that each leave partial sums."""


def held_by(c: int, piece: int) -> tuple[int, int]:
    """Return (warps, pieces): how rows of ``c`` elements are held in registers by such pieces; 0 pieces: they are not.

    >>> held_by(768, 8), held_by(8192, 4), held_by(16384, 8)
    ((3, 1), (16, 4), (16, 0))
    """
    for warps in WARPS:
        if c <= 32 * warps * piece:
            return warps, 1
    for pieces in PIECES:
        registers = pieces * piece  # of each sum over rows that a thread keeps: 16 leave room for a block of 16 warps
        if c <= 32 * WARPS[-1] * pieces * piece and registers <= 16:
            return WARPS[-1], pieces
    return WARPS[-1], 0


def forward(name: str, x: Any, arguments: tuple[Any, ...]) -> None:
    """Launch ``NAME_forward`` over the rows of ``x`` (M, C)."""
    m, c = x.shape
    if not m:
        return
    held = held_by(c, piece_of(x))
    rows = BLOCK_ROWS if held[0] == 1 else 1
    plan = Launch((ceil_div(m, rows), 1, 1), (32 * held[0] * rows, 1, 1))
    launch(device_of(x), kernel_of(f"{name}_forward", x, held), plan, values((*arguments, m, c)))


def backward(name: str, x: Any, arguments: tuple[Any, ...], dw: Gradient, db: Gradient | None) -> None:
    """Launch ``NAME_backward`` over the rows of ``x``, then sum what its blocks have left for dw and db."""
    m, c = x.shape
    device: Any = device_of(x)
    held, kinds = held_by(c, piece_of(x)), 1 if db is None else 2
    rows = BLOCK_ROWS if held[0] == 1 else 1
    threads = 32 * held[0] * rows
    blocks = min(ceil_div(m, rows), max(1, BACKWARD_THREADS // threads) * device.num_processors)
    partials = workspace(x, "partials", (kinds, blocks, c), "float32")
    if m:
        shared = sums_bytes(kinds, c, piece_of(x), arch_number(device.arch)) if held[1] == 0 else 0
        which = kernel_of(f"{name}_backward", x, held, {} if held[1] or shared else {"ROW_SUMS": 0})
        launch(device, which, Launch((blocks, 1, 1), (threads, 1, 1), shared), values((*arguments, partials, m, c)))
    put_parts(partials, dw, db)


def sums_bytes(kinds: int, c: int, piece: int, arch: int) -> int:
    """Return the shared memory for sums of long rows: ``kinds`` of ``c`` floats, whole pieces; 0 where it is too much.

    >>> sums_bytes(2, 16384, 8, 90), sums_bytes(2, 30000, 8, 90)
    (131072, 0)
    """
    wanted = 4 * kinds * ceil_div(c, piece) * piece
    return wanted if wanted + STATIC_BYTES <= shared_bytes_limit(arch) else 0


def kernel_of(name: str, x: Any, held: tuple[int, int], more: Mapping[str, int] | None = None) -> Kernel:
    """Return the kernel for the type of ``x``, with rows held so."""
    macros = {macro: count for macro, count in zip(("ROW_WARPS", "ROW_PIECES"), held, strict=True) if count != 1}
    return kernel(f"{name.partition('_')[0]}.cu", macros | dict(more or {}) | macros_of(x), name=name)


def fitted(x: Any, residual: Any, s: Any, y: Any, keep: Keep) -> tuple[Any, Any, Any] | None:
    """Return x, residual and s in the type and layout of ``y``; None where the kernels do not cover that."""
    if not covers(y) or (residual is not None and not covers(s, y)):
        return None
    if residual is not None:
        return fitting(x, y, "rows"), fitting(residual, y, "residual"), s
    if not covers(x, y):
        x = in_layout_of(keep("rows", x.shape, y.dtype), x)
    return x, None, x


def covers(*arrays: Any) -> bool:
    """Return whether the kernels cover these arrays (some may be None): C-contiguous, of one type."""
    given = [a for a in arrays if a is not None]
    first = given[0]
    if not (first.dtype == "float32" or is_bf16(first)):
        return False
    return all(a.dtype == first.dtype and a.flags.c_contiguous for a in given)
