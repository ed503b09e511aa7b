"""Gradients as short messages: bf16; fp16, int8 and signs with a scale for each block; thin factors of a matrix.

Shapes: x, y (n,); message uint8, as long as ``message_bytes``; error (n,), or (0,) for none. A block is its scale
(float32) and then its payload; the last one may be incomplete.

``encode`` writes u = x + inject error to the message, and keeps error = keep error + inverse (u - decoded u), which is
finite also where u is not. ``decode`` writes to y, or adds to it. What is not finite stays visible: in bf16 the
element, in the others its whole block, decodes to NaN or an infinity.
"""

import numpy as np

from .dispatch import op

BLOCK = 256  # elements of a block of fp16 and of signs
SIGN_WORDS = 8
LEAST_SCALED = 1e-30  # blocks of smaller numbers are sent as zeros
PRODUCT_BLOCK = 1 << 15  # elements of a product that stay in a cache
TO_FP16 = 14  # the largest number of a block is sent as 2^14 up to 2^15

Array = np.ndarray


@op
def encode_bf16(x: Array, error: Array, message: Array, inject: float, keep: float, inverse: float) -> None:
    """Round to bf16, ties to even."""
    u = _with_error(x, error, inject)
    bits = u.view(np.uint32)
    halves = np.where(np.isnan(u), bits >> 16 | 0x40, (bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint32)
    message[: 2 * x.size].view(np.uint16)[...] = halves
    _keep(error, u, (halves << 16).view(np.float32), keep, inverse)


@op
def decode_bf16(message: Array, y: Array, add: bool) -> None:
    """Write numbers in bf16 to y, or add them."""
    halves = message[: 2 * y.size].view(np.uint16).astype(np.uint32)
    _put(y, (halves << 16).view(np.float32), add)


@op
def encode_int8(x: Array, error: Array, message: Array, inject: float, keep: float, inverse: float, block: int) -> None:
    """Round to -127 ... 127 times the scale of the block, which is its largest number / 127."""
    u = _with_error(x, error, inject)
    rows = _rows(u, block)
    largest = np.abs(rows).max(1, initial=0)
    finite = np.isfinite(largest)
    sends = finite & (largest >= LEAST_SCALED)
    scale = np.where(sends, largest / np.float32(127), np.where(finite, 0, np.nan)).astype(np.float32)
    factor = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=sends)
    q = np.rint(np.where(sends[:, None], rows, 0) * factor[:, None])
    scales, payload = _parts(message, len(rows), block)
    scales[...], payload.view(np.int8)[...] = scale, q
    _keep(error, u, (q * scale[:, None]).reshape(-1), keep, inverse)


@op
def decode_int8(message: Array, y: Array, add: bool, block: int) -> None:
    """Write numbers times the scales of their blocks to y, or add them."""
    scales, payload = _parts(message, -(-y.size // block), block)
    _put(y, (payload.view(np.int8) * scales[:, None]).reshape(-1), add)


@op
def encode_fp16(x: Array, error: Array, message: Array, inject: float, keep: float, inverse: float) -> None:
    """Round to fp16 times the scale of the block, a power of two that keeps the largest number far from an overflow."""
    u = _with_error(x, error, inject)
    rows = _rows(u, BLOCK)
    largest = np.abs(rows).max(1, initial=0)
    finite = np.isfinite(largest)
    sends = finite & (largest >= LEAST_SCALED)
    exponent = np.frexp(np.where(sends, largest, 1))[1] - 1
    scale = np.where(sends, np.ldexp(np.float32(1), exponent - TO_FP16), np.where(finite, 0, np.nan)).astype(np.float32)
    factor = np.where(sends, np.ldexp(np.float32(1), TO_FP16 - exponent), 0).astype(np.float32)
    halves = (np.where(sends[:, None], rows, 0) * factor[:, None]).astype(np.float16)
    scales, payload = _parts(message, len(rows), 2 * BLOCK)
    scales[...], payload.view(np.float16)[...] = scale, halves
    _keep(error, u, (halves * scale[:, None]).reshape(-1), keep, inverse)


@op
def decode_fp16(message: Array, y: Array, add: bool) -> None:
    """Write numbers in fp16 times the scales of their blocks to y, or add them."""
    scales, payload = _parts(message, -(-y.size // BLOCK), 2 * BLOCK)
    _put(y, (payload.view(np.float16) * scales[:, None]).reshape(-1), add)


@op
def encode_sign(x: Array, error: Array, message: Array, inject: float, keep: float, inverse: float) -> None:
    """Keep the sign bits, with the mean of |u| as the scale of the block; bit j of word i is element 8 j + i."""
    u = _with_error(x, error, inject)
    rows = _rows(u, BLOCK)
    counts = np.minimum(BLOCK, u.size - BLOCK * np.arange(len(rows))).astype(np.float32)
    with np.errstate(over="ignore"):
        scale = np.abs(rows).sum(1) / counts
    bits = np.signbit(rows).reshape(-1, 32, SIGN_WORDS).astype(np.uint32)
    scales, payload = _parts(message, len(rows), BLOCK // 8)
    scales[...] = scale
    payload.view(np.uint32)[...] = (bits << np.arange(32, dtype=np.uint32)[:, None]).sum(1, dtype=np.uint32)
    _keep(error, u, np.copysign(scale[:, None], rows).reshape(-1), keep, inverse)


@op
def decode_sign(message: Array, y: Array, add: bool) -> None:
    """Write the scale of each block with the signs of its elements to y, or add it."""
    scales, payload = _parts(message, -(-y.size // BLOCK), BLOCK // 8)
    bits = payload.view(np.uint32)[:, None, :] >> np.arange(32, dtype=np.uint32)[:, None] & 1
    signs = 1 - 2 * bits.reshape(-1, BLOCK).astype(np.float32)
    _put(y, (signs * scales[:, None]).reshape(-1), add)


@op
def thin_product(left: Array, right: Array, out: Array, add: bool) -> None:
    """Write left right to out (n, m), or add it, for (n, r) and (r, m) with a small r.

    Element by element, in the order of r: the bits are the same on all ranks, whatever the number of threads, which
    those of BLAS are not.
    """
    rows = max(1, PRODUCT_BLOCK // max(1, out.shape[1]))
    with np.errstate(all="ignore"):  # NaN stays NaN
        for start in range(0, len(out), rows):
            block, some = out[start : start + rows], left[start : start + rows]
            if not add:
                block.fill(0)
            for k in range(left.shape[1]):
                block += some[:, k, None] * right[k]


@op
def largest_places(u: Array, places: Array) -> None:
    """Write the places of the k largest |u| to places (k,), int64, in ascending order.

    Equal ones are taken from the front, and NaN before all numbers: bits are compared, in the order of magnitudes.
    """
    bits = np.abs(u.astype(np.float32)).view(np.int32)
    if not places.size:
        return
    least = np.partition(bits, u.size - places.size)[u.size - places.size]
    chosen = bits > least
    chosen[np.flatnonzero(bits == least)[: places.size - np.count_nonzero(chosen)]] = True
    places[...] = np.flatnonzero(chosen)


def message_bytes(num_elements: int, block: int, payload: int) -> int:
    """Return the bytes of a message whose blocks have a scale and ``payload`` bytes."""
    return -(-num_elements // block) * (4 + payload)


def _with_error(x: Array, error: Array, inject: float) -> Array:
    """Return x + inject error, contiguous, in float32."""
    u = x.astype(np.float32)
    if error.size:
        u += np.float32(inject) * error.astype(np.float32)
    return u


def _keep(error: Array, u: Array, sent: Array, keep: float, inverse: float) -> None:
    if error.size:
        with np.errstate(invalid="ignore", over="ignore"):
            rest = u - sent[: u.size].astype(np.float32)
        rest[~np.isfinite(rest)] = 0
        error[...] = np.float32(keep) * error + np.float32(inverse) * rest


def _rows(u: Array, block: int) -> Array:
    """Return u (n,) in rows of a block each, the last filled with zeros."""
    rows = np.zeros((-(-u.size // block), block), np.float32)
    rows.reshape(-1)[: u.size] = u
    return rows


def _parts(message: Array, num_blocks: int, payload: int) -> tuple[Array, Array]:
    """Return the scales (num_blocks,) and the payloads (num_blocks, payload) of a message, as views."""
    rows = message[: num_blocks * (4 + payload)].reshape(num_blocks, 4 + payload)
    return rows[:, :4].view(np.float32)[:, 0], rows[:, 4:]


def _put(y: Array, values: Array, add: bool) -> None:
    if add:
        with np.errstate(invalid="ignore"):  # infinities of both signs
            y += values[: y.size]
    else:
        y[...] = values[: y.size]
