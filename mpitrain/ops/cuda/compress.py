"""Codecs of gradients on a GPU: one launch for a message, with its errors; for the largest elements, eight."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import Kernel, kernel
from ...kernels.launch import launch
from ...kernels.plan import THREADS, Launch, ceil_div
from .. import compress as ops
from ..workspace import workspace
from .launch import fits, loop, size_of, spread, values

FACTOR = np.dtype([("at", np.uint64), ("value", np.float32), ("unused", np.int32)])
FEEDBACK = np.dtype([(name, FACTOR) for name in ("inject", "keep", "inverse")])
assert FEEDBACK.itemsize == 48, "the layout of struct Feedback"

ENCODE, DECODE = (
    {codec: kernel(f"compress_{codec}.cu", name=f"{way}_{codec}") for codec in ("bf16", "fp16", "int8", "sign")}
    for way in ("encode", "decode")
)
DIGITS, CHOOSE, COUNT, WRITE = (
    kernel("largest_places.cu", name=f"largest_{name}") for name in ("digits", "choose", "count", "write")
)
THIN = kernel("thin_product.cu")
BITS = (11, 10, 10)  # digits of the 31 bits of a magnitude, from the top
BINS = 1 << 11
TILE = 4 * THREADS  # elements
MOST_PARTS = 1024
PIECE = 4  # elements of int8 that are stored at once


def factor(number: Any) -> np.ndarray:
    """Return struct Factor: a number by value, or the address of an array ()."""
    is_number = isinstance(number, (int, float, np.generic))
    return np.array((0, number, 0) if is_number else (number.data.ptr, 0, 0), FACTOR)


@ops.encode_bf16.cuda
def encode_bf16(x: Any, error: Any, message: Any, inject: Any, keep: Any, inverse: Any) -> bool:
    """One launch."""
    return _encode(ENCODE["bf16"], x, error, message, (inject, keep, inverse))


@ops.encode_fp16.cuda
def encode_fp16(x: Any, error: Any, message: Any, inject: Any, keep: Any, inverse: Any) -> bool:
    """One launch."""
    return _encode(ENCODE["fp16"], x, error, message, (inject, keep, inverse))


@ops.encode_sign.cuda
def encode_sign(x: Any, error: Any, message: Any, inject: Any, keep: Any, inverse: Any) -> bool:
    """One launch."""
    return _encode(ENCODE["sign"], x, error, message, (inject, keep, inverse))


@ops.encode_int8.cuda
def encode_int8(x: Any, error: Any, message: Any, inject: Any, keep: Any, inverse: Any, block: int) -> bool:
    """One launch; blocks are whole pieces."""
    return block % PIECE == 0 and _encode(ENCODE["int8"], x, error, message, (inject, keep, inverse), block)


@ops.decode_bf16.cuda
def decode_bf16(message: Any, y: Any, add: bool) -> bool:
    """One launch."""
    return _decode(DECODE["bf16"], message, y, add)


@ops.decode_fp16.cuda
def decode_fp16(message: Any, y: Any, add: bool) -> bool:
    """One launch."""
    return _decode(DECODE["fp16"], message, y, add)


@ops.decode_sign.cuda
def decode_sign(message: Any, y: Any, add: bool) -> bool:
    """One launch."""
    return _decode(DECODE["sign"], message, y, add)


@ops.decode_int8.cuda
def decode_int8(message: Any, y: Any, add: bool, block: int) -> bool:
    """One launch; blocks are whole pieces."""
    return block % PIECE == 0 and _decode(DECODE["int8"], message, y, add, block)


def _encode(kernel: Kernel, x: Any, error: Any, message: Any, factors: tuple[Any, Any, Any], *block: int) -> bool:
    if not (fits(x, error) and message.flags.c_contiguous and message.data.ptr % 4 == 0):
        return False
    feedback = np.array(tuple(factor(number)[()] for number in factors), FEEDBACK)
    loop(device_of(x), kernel, x.size, (x, error if error.size else None, message, feedback, size_of(x), *block))
    return True


def _decode(kernel: Kernel, message: Any, y: Any, add: bool, *block: int) -> bool:
    if not (fits(y) and message.flags.c_contiguous and message.data.ptr % 4 == 0):
        return False
    loop(device_of(y), kernel, y.size, (message, y, int(add), size_of(y), *block))
    return True


@ops.thin_product.cuda
def thin_product(left: Any, right: Any, out: Any, add: bool) -> bool:
    """One launch."""
    if not fits(left, right, out):
        return False
    (n, m), r = out.shape, left.shape[1]
    spread(device_of(out), THIN, ceil_div(m, 4), n, (left, right, out, n, r, m, int(add)))
    return True


@ops.largest_places.cuda
def largest_places(u: Any, places: Any) -> bool:
    """Eight launches and one that clears; nothing is read back."""
    if not (fits(u) and places.dtype == np.int64 and places.flags.c_contiguous and u.size < 2**31):
        return False
    if not places.size:
        return True
    device: Any = device_of(u)
    bins, state = workspace(u, "largest bins", (BINS,), np.int32), workspace(u, "largest state", (2,), np.int32)
    bins.fill(0)
    shift = sum(BITS)
    for turn, bits in enumerate(BITS):
        shift -= bits
        loop(device, DIGITS, u.size, (u, state, bins, u.size, shift, bits))
        k = 0 if turn else places.size
        launch(device, CHOOSE, _blocks(1), values((state, bins, bits, k)))
    tiles = ceil_div(u.size, TILE)
    each = ceil_div(tiles, min(tiles, MOST_PARTS)) * TILE
    parts = ceil_div(u.size, each)
    counts = workspace(u, "largest counts", (parts, 2), np.int32)
    launch(device, COUNT, _blocks(parts), values((u, state, counts, u.size, each)))
    launch(device, WRITE, _blocks(parts), values((u, state, counts, places, u.size, each)))
    return True


def _blocks(number: int) -> Launch:
    return Launch((number, 1, 1), (THREADS, 1, 1))
