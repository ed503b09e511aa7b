"""Arrays as the kernels of layers take them: fp32, or bf16 kept as its 16 bits, with guards that must not change."""

import numpy as np

from tests.kernels import cpu, formats

GUARD = 7  # elements before and after, so that arrays of odd numbers also begin off alignment
TOLERANCE = {0: 2e-6, 1: 2**-7}  # by ELEMENT_BF16


def i32(x: int) -> np.ndarray:
    return np.array(x, np.int32)


def i64(x: int) -> np.ndarray:
    return np.array(x, np.int64)


def f32(x: float) -> np.ndarray:
    return np.array(x, np.float32)


NULL = np.array(0, np.uint64)


class Elements:
    """Arrays of the type that a file is built for."""

    def __init__(self, bf16: int, seed: int = 0):
        self.bf16, self.rng = bf16, np.random.default_rng(seed)
        self.dtype = np.uint16 if bf16 else np.float32
        self._guarded: list[tuple[np.ndarray, int, int]] = []

    def draw(self, *shape: int, scale: float = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return random numbers as stored, and as float64."""
        values = (scale * self.rng.standard_normal(shape)).astype(np.float32)
        stored = self.room(*shape)
        stored[...] = formats.to_bf16(values) if self.bf16 else values
        return stored, self.value(stored)

    def room(self, *shape: int, dtype: type | None = None, aligned: bool = True) -> np.ndarray:
        """Return an array of NaN (0xFF bytes) between guards."""
        dtype = np.dtype(dtype or self.dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        raw = np.full(size + 64 + 2 * GUARD * dtype.itemsize, 0xFF, np.uint8)
        start = GUARD * dtype.itemsize
        if aligned:
            start += -(raw.ctypes.data + start) % 16
        self._guarded.append((raw, start, size))
        return raw[start : start + size].view(dtype).reshape(shape)

    def value(self, stored: np.ndarray) -> np.ndarray:
        return np.float64(formats.from_bf16(stored) if stored.dtype == np.uint16 else stored)

    def check(self, got: np.ndarray, expected: np.ndarray, scale: float = 1) -> None:
        """Compare, and look at the guards of all arrays."""
        tolerance = TOLERANCE[int(got.dtype == np.uint16)] * scale
        np.testing.assert_allclose(self.value(got), expected, rtol=tolerance, atol=tolerance)
        self.check_guards()

    def check_guards(self) -> None:
        """See that nothing was written around the arrays."""
        for raw, start, size in self._guarded:
            assert (raw[:start] == 0xFF).all(), "written before an array"
            assert (raw[start + size :] == 0xFF).all(), "written behind an array"


def launch(kernels: cpu.Kernels, name: str, *arguments: np.ndarray, grid=3, block: int = 256, seed: int = 0) -> None:
    """Launch by position; a grid of 3 makes the loops of a kernel go round."""
    grid = (grid, 1, 1) if isinstance(grid, int) else (*grid, 1)
    kernels.launch(name, grid=grid, block=(block, 1, 1), arguments=arguments, seed=seed)
