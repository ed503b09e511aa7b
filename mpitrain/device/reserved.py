"""Reserved memory: an array whose pages come with the first write, and go back to the system part by part.

The addresses stay, so that views, plans of messages and blocks of an optimizer stay valid while the memory behind them
comes and goes. A page that was given back holds zeros when it comes again.
"""

import mmap
import os
from typing import Any

import numpy as np

HUGE = 2 << 20  # bytes of a large page: one fault instead of 512, which cost ten times as much as writing the bytes
LEAST_HUGE = 4 * HUGE  # bytes of a part from which it is good enough to give back whole large pages only
PRESENT, OWN = np.uint64(1 << 63), np.uint64(1 << 56)  # bits of /proc/self/pagemap; a page of zeros is nobody's own


class ReservedMemory:
    """Memory of the host.

    Parameters
    ----------
    size : int
        Elements.
    dtype : dtype
    parts : int
        Number of parts that come and go by themselves.

    Attributes
    ----------
    array : (size,) array
        Zeros at first, aligned to a page.
    granule : int
        Bytes of the blocks that are given back.
    """

    def __init__(self, size: int, dtype: Any = np.float32, parts: int = 1):
        dtype = np.dtype(dtype)
        num_bytes = size * dtype.itemsize
        self.granule = HUGE if num_bytes >= LEAST_HUGE * max(1, parts) else mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared memory would be kept by its file
        self._map = mmap.mmap(-1, num_bytes + self.granule, flags=flags)
        raw: np.ndarray = np.frombuffer(self._map, np.uint8)
        self._begin = -raw.ctypes.data % self.granule
        self.array: np.ndarray = raw[self._begin : self._begin + num_bytes].view(dtype)
        if self.granule == HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
            self._map.madvise(mmap.MADV_HUGEPAGE)

    def part(self, part: slice) -> np.ndarray:
        """Return an array of its own over ``part``, the base of all views that are made of it."""
        begin = self._begin + part.start * self.array.itemsize
        made: np.ndarray = np.frombuffer(self._map, self.array.dtype, part.stop - part.start, begin)
        return made

    def give_back(self, part: slice) -> None:
        """Give back the memory of the blocks that lie in ``part`` as a whole; its contents are lost."""
        granule, itemsize = self.granule, self.array.itemsize
        first, stop = -(-part.start * itemsize // granule), part.stop * itemsize // granule
        if first < stop:
            self._map.madvise(mmap.MADV_DONTNEED, self._begin + first * granule, (stop - first) * granule)

    @property
    def resident_bytes(self) -> int:
        """Bytes that are in memory now, in whole pages (Linux)."""
        first, count = self.array.ctypes.data // mmap.PAGESIZE, -(-self.array.nbytes // mmap.PAGESIZE)
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            pages = np.frombuffer(os.pread(file.fileno(), 8 * count, 8 * first), np.uint64)
        return mmap.PAGESIZE * int(np.count_nonzero((pages & PRESENT != 0) & (pages & OWN != 0)))
