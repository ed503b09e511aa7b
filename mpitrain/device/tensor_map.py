"""Tensor maps: descriptions of arrays for Hopper's copy engine (CUDA driver API, cuTensorMapEncodeTiled and ...Im2col).

A map is planned as numbers that can be checked anywhere, and encoded by the driver into 128 bytes that a kernel takes
by value.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import UserError

MAP_BYTES, MAP_ALIGNMENT = 128, 64
SWIZZLE_BYTES = 128  # a row of a box
TYPES = {2: 9, 4: 7}  # bytes of an element: CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, _FLOAT32
MOST_STEP = 8  # from one window to the next
INTERLEAVE_NONE, SWIZZLE_128B, PROMOTION_L2_256B, FILL_ZEROS = 0, 3, 3, 0


@dataclass(frozen=True)
class TensorMap:
    """A batch of matrices, and the box that one copy fetches: dims are (elements of a row, rows, matrices), and where
    there are four, (elements of a row, rows, matrices, batches of them).

    Attributes
    ----------
    address : int
    element_bytes : int
        2 for bf16, 4 for fp32.
    size : (columns, rows, matrices) or (columns, rows, matrices, batches)
    row_bytes, matrix_bytes, batch_bytes : int
        Distance from one row to the next, from one matrix to the next, and from one batch to the next.
    box : (columns, rows), (columns, rows, matrices) or (columns, rows, matrices, batches)
        Its row is 128 bytes wide; the copy permutes pieces of 16 bytes within it (swizzle). 1 of what is not named.

    Raises
    ------
    ValueError
        If the driver would refuse it.
    """

    address: int
    element_bytes: int
    size: tuple[int, ...]
    row_bytes: int
    matrix_bytes: int
    box: tuple[int, ...]
    batch_bytes: int = 0

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one to the next of each dim but the first."""
        return (self.row_bytes, self.matrix_bytes, self.batch_bytes)[: len(self.size) - 1]

    def __post_init__(self) -> None:
        if len(self.size) not in (3, 4):
            raise ValueError(f"a tensor map must have three or four dims: {self}")
        if any(place % 16 for place in (self.address, *self.strides)):
            raise ValueError(f"a tensor map's address and strides must be multiples of 16 bytes: {self}")
        if min(self.size) < 1 or max(self.size) > 2**32 or not all(0 <= apart < 2**40 for apart in self.strides):
            raise ValueError(
                f"a tensor map must have 1 to 2**32 elements each way, less than 2**40 bytes apart: {self}"
            )
        if not 2 <= len(self.box) <= len(self.size):
            raise ValueError(f"a box must have two dims or more, no more than its map: {self}")
        if self.box[0] * self.element_bytes != SWIZZLE_BYTES or min(self.box) < 1 or max(self.box[1:]) > 256:
            raise ValueError(f"a box must be {SWIZZLE_BYTES} bytes wide and 1 to 256 rows high: {self}")


@dataclass(frozen=True)
class Im2colMap:
    """Images, and the pixels under one tap of consecutive windows of a convolution that one copy fetches.

    The first taps of all windows of an image, in the order in which they are visited, are at

        w = lower[0], lower[0] + step[0], ... up to W - 1 + upper[0]     within
        h = lower[1], lower[1] + step[1], ... up to H - 1 + upper[1]

    Pixels outside of the image, as those of the padding, are zeros. PTX ISA, "im2col mode".

    Attributes
    ----------
    address : int
    element_bytes : int
        2 for bf16, 4 for fp32.
    size : (C, W, H, N)
    strides : (bytes from one pixel to the next, from one line, from one image)
    box : (channels, pixels)
        Its row is 128 bytes wide, as that of a TensorMap's box.
    lower, upper : (w, h)
        The corners of the box of first taps: lower = -padding, upper = padding - (kernel - 1) dilation.
    step : (w, h)
        The stride of the convolution.

    Raises
    ------
    ValueError
        If the driver would refuse it.
    """

    address: int
    element_bytes: int
    size: tuple[int, int, int, int]
    strides: tuple[int, int, int]
    box: tuple[int, int]
    lower: tuple[int, int]
    upper: tuple[int, int]
    step: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if self.address % 16 or any(stride % 16 for stride in self.strides):
            raise ValueError(f"a tensor map's address and strides must be multiples of 16 bytes: {self}")
        if min(self.size) < 1 or max(self.size) > 2**32 or max(self.strides) >= 2**40:
            raise ValueError(
                f"a tensor map must have 1 to 2**32 elements each way, less than 2**40 bytes apart: {self}"
            )
        if self.box[0] * self.element_bytes != SWIZZLE_BYTES or not 1 <= self.box[1] <= 256:
            raise ValueError(f"a box must be {SWIZZLE_BYTES} bytes wide and 1 to 256 pixels high: {self}")
        if min(*self.lower, *self.upper) < -128 or max(*self.lower, *self.upper) > 127:
            raise ValueError(f"corners of the windows must be within -128 to 127: {self}")
        if not all(1 <= step <= MOST_STEP for step in self.step):
            raise ValueError(f"steps must be from 1 to {MOST_STEP}: {self}")
        if any(self.size[i + 1] + self.upper[i] <= self.lower[i] for i in (0, 1)):
            raise ValueError(f"there must be a window: {self}")


@lru_cache(maxsize=1024)
def encode(planned: TensorMap | Im2colMap) -> np.ndarray:
    """Return the map in the form in which a kernel takes it, a 0-d array of 128 bytes.

    Raises
    ------
    UserError
        If the driver is too old (before CUDA 12) or refuses.
    """
    room = (ctypes.c_char * (MAP_BYTES + MAP_ALIGNMENT))()
    first = ctypes.addressof(room) + -ctypes.addressof(room) % MAP_ALIGNMENT
    name, described = _tiled(planned) if isinstance(planned, TensorMap) else _im2col(planned)
    error = _driver_function(name)(
        ctypes.c_void_p(first),
        ctypes.c_int(TYPES[planned.element_bytes]),
        ctypes.c_uint32(len(planned.size)),
        ctypes.c_void_p(planned.address),
        (ctypes.c_uint64 * len(planned.size))(*planned.size),
        *described,
        *(ctypes.c_int(value) for value in (INTERLEAVE_NONE, SWIZZLE_128B, PROMOTION_L2_256B, FILL_ZEROS)),
    )
    if error:
        raise UserError(f"the CUDA driver refuses a tensor map (error {error}): {planned}")
    return np.frombuffer(ctypes.string_at(first, MAP_BYTES), np.dtype((np.void, MAP_BYTES))).reshape(())


def join_maps(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Return one argument of a kernel that takes several maps side by side."""
    joined = b"".join(each.tobytes() for each in maps)
    return np.frombuffer(joined, np.dtype((np.void, len(joined)))).reshape(())


def _tiled(planned: TensorMap) -> tuple[str, tuple[Any, ...]]:
    """Return the driver's function, and its arguments from the strides to the element strides."""
    rank = len(planned.size)
    return "cuTensorMapEncodeTiled", (
        (ctypes.c_uint64 * (rank - 1))(*planned.strides),
        (ctypes.c_uint32 * rank)(*planned.box, *[1] * (rank - len(planned.box))),
        (ctypes.c_uint32 * rank)(*[1] * rank),
    )


def _im2col(planned: Im2colMap) -> tuple[str, tuple[Any, ...]]:
    """Return the same; corners are in the order of the dims, width before height, as CUTLASS passes them."""
    return "cuTensorMapEncodeIm2col", (
        (ctypes.c_uint64 * 3)(*planned.strides),
        (ctypes.c_int * 2)(*planned.lower),
        (ctypes.c_int * 2)(*planned.upper),
        ctypes.c_uint32(planned.box[0]),
        ctypes.c_uint32(planned.box[1]),
        (ctypes.c_uint32 * 4)(1, *planned.step, 1),
    )


@lru_cache
def _driver_function(name: str) -> "ctypes._NamedFuncPointer":
    try:
        found: ctypes._NamedFuncPointer = getattr(ctypes.CDLL("libcuda.so.1"), name)
    except (OSError, AttributeError):
        raise UserError("this CUDA driver has no tensor maps: install one for CUDA 12 or later") from None
    return found
