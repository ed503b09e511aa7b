"""Records of kernels/lab as NumPy types, and the functions that give them."""

import ctypes
from typing import Any

import numpy as np

ACCESS = np.dtype(
    [("block", "i4", 3), ("thread", "i4", 3), ("way", "i4"), ("bytes", "i4"), ("instruction", "u8")], align=True
)
FAULT = np.dtype(
    [
        *(("kind", "i4"), ("array", "i4"), ("offset", "i8"), ("count", "i8"), ("first", ACCESS), ("second", ACCESS)),
        *(("line", "i4"), ("number", "i8"), ("type", "S32")),
    ],
    align=True,
)
LINE = np.dtype(
    [
        *(
            ("instruction", "u8"),
            ("array", "i4"),
            ("way", "i4"),
            ("bytes", "i4"),
            ("worst", "i4"),
            ("worst_least", "i4"),
        ),
        *(("requests", "i8"), ("lanes", "i8"), ("transactions", "i8"), ("least", "i8"), ("merged", "i8")),
        *(("worst_block", "i4", 3), ("worst_warp", "i4"), ("offsets", "i8", 32)),
    ],
    align=True,
)
KINDS = ("race", "outside", "undefined", "misaligned", "ended", "dimension")
WAYS = ("reads", "writes", "changes")


class Runtime:
    """The functions of kernels/lab in a loaded library of a student's."""

    def __init__(self, library: ctypes.CDLL, kernel: str):
        self._library, self._kernel = library, library[f"launch_{kernel}"]
        library.lab_begin.restype = ctypes.c_uint64
        library.lab_barriers.restype = ctypes.c_int64

    def begin(self, counting: bool) -> int:
        """Begin the account of a launch; return where the library lies in memory."""
        return int(self._library.lab_begin(self._kernel, int(counting)))

    def add_region(self, begin: int, end: int) -> None:
        """Tell of addresses where only arrays may be touched."""
        self._library.lab_region(ctypes.c_uint64(begin), ctypes.c_uint64(end))

    def add_array(self, begin: int, num_bytes: int, *, shared: bool, undefined: bool) -> None:
        """Tell of an array; faults name it by its number."""
        self._library.lab_array(ctypes.c_uint64(begin), ctypes.c_size_t(num_bytes), int(shared), int(undefined))

    def start(self) -> None:
        """Call this after the last array."""
        self._library.lab_start()

    def end(self) -> None:
        """Call this after the launch."""
        self._library.lab_end()

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults of the launch."""
        return [as_dict(record) for record in self._records(self._library.lab_faults, FAULT)]

    def lines(self) -> list[dict[str, Any]]:
        """Return the totals of each instruction that touched an array."""
        return [as_dict(record) for record in self._records(self._library.lab_lines, LINE)]

    def barriers(self) -> int:
        """Return how often a block met at a barrier."""
        return int(self._library.lab_barriers())

    def watch(self, file: int, seconds: int) -> None:
        """Write to ``file`` where the kernel is when it crashes, or when the time is over."""
        self._library.lab_watch(file, seconds)

    def _records(self, function: Any, kind: np.dtype) -> np.ndarray:
        first = ctypes.c_void_p()
        count = function(ctypes.byref(first))
        if not count:
            return np.empty(0, kind)
        memory = (ctypes.c_char * (count * kind.itemsize)).from_address(first.value or 0)
        return np.frombuffer(memory, kind).copy()


def as_dict(record: np.void) -> dict[str, Any]:
    """Return a record in Python's own types."""
    found: dict[str, Any] = {}
    for name in record.dtype.names or ():
        value = record[name]
        if isinstance(value, np.void):
            found[name] = as_dict(value)
        else:
            found[name] = value.decode() if isinstance(value, bytes) else value.tolist()
    return found
