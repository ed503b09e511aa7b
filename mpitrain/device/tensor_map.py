"""Tensor maps: descriptions of matrices for Hopper's copy engine (CUDA driver API, cuTensorMapEncodeTiled).

A map is planned as numbers that can be checked anywhere, and encoded by the driver into 128 bytes that a kernel takes
by value.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import UserError

MAP_BYTES, MAP_ALIGNMENT = 128, 64
SWIZZLE_BYTES = 128  # a row of a box
TYPES = {2: 9, 4: 7}  # bytes of an element: CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, _FLOAT32
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
    box : (columns, rows)
        Its row is 128 bytes wide; the copy permutes pieces of 16 bytes within it (swizzle).

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
    box: tuple[int, int]
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
        if self.box[0] * self.element_bytes != SWIZZLE_BYTES or not 1 <= self.box[1] <= 256:
            raise ValueError(f"a box must be {SWIZZLE_BYTES} bytes wide and 1 to 256 rows high: {self}")


@lru_cache(maxsize=1024)
def encode(planned: TensorMap) -> np.ndarray:
    """Return the map in the form in which a kernel takes it, a 0-d array of 128 bytes.

    Raises
    ------
    UserError
        If the driver is too old (before CUDA 12) or refuses.
    """
    room = (ctypes.c_char * (MAP_BYTES + MAP_ALIGNMENT))()
    first = ctypes.addressof(room) + -ctypes.addressof(room) % MAP_ALIGNMENT
    rank = len(planned.size)
    error = _driver_function()(
        ctypes.c_void_p(first),
        ctypes.c_int(TYPES[planned.element_bytes]),
        ctypes.c_uint32(rank),
        ctypes.c_void_p(planned.address),
        (ctypes.c_uint64 * rank)(*planned.size),
        (ctypes.c_uint64 * (rank - 1))(*planned.strides),
        (ctypes.c_uint32 * rank)(*planned.box, *[1] * (rank - 2)),
        (ctypes.c_uint32 * rank)(*[1] * rank),
        *(ctypes.c_int(value) for value in (INTERLEAVE_NONE, SWIZZLE_128B, PROMOTION_L2_256B, FILL_ZEROS)),
    )
    if error:
        raise UserError(f"the CUDA driver refuses a tensor map (error {error}): {planned}")
    return np.frombuffer(ctypes.string_at(first, MAP_BYTES), np.dtype((np.void, MAP_BYTES))).reshape(())


@lru_cache(maxsize=1)
def _driver_function() -> "ctypes._NamedFuncPointer":
    try:
        return ctypes.CDLL("libcuda.so.1").cuTensorMapEncodeTiled
    except (OSError, AttributeError):
        raise UserError("this CUDA driver has no tensor maps: install one for CUDA 12 or later") from None
