"""Where a factor or a result of a product lies."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import TensorMap


@dataclass(frozen=True)
class Matrices:
    """A, B or out as it lies in memory: matrices of (rows, cols), rows ``ld`` elements apart, matrices ``apart``."""

    address: int
    rows: int
    cols: int
    ld: int
    matrices: int = 1
    apart: int = 0

    def tensor_map(self, device: Any, box: tuple[int, int], element_bytes: int = 2) -> np.ndarray:
        """Return the argument that tells the copy engine of these matrices, in bf16 or (4 bytes) tf32."""
        size = max(1, self.cols), max(1, self.rows), self.matrices
        row = element_bytes * self.ld
        encoded: np.ndarray = device.tensor_map(TensorMap(self.address, element_bytes, size, row, size[1] * row, box))
        return encoded
