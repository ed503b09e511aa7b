"""The place of a factor or result of a product in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import TensorMap


@dataclass(frozen=True)
class Matrices:
    """A, B or out in memory: matrices of (rows, cols), with rows ``ld`` and matrices ``apart`` elements apart."""

    address: int
    rows: int
    cols: int
    ld: int
    matrices: int = 1
    apart: int = 0

    def can_be_written(self, element_bytes: int) -> bool:
        """Return whether the copy engine can write these matrices: from multiples of 16 bytes on, as their rows."""
        places = self.address, element_bytes * self.ld, element_bytes * self.apart if self.matrices > 1 else 0
        return not any(place % 16 for place in places)

    def tensor_map(self, device: Any, box: tuple[int, int], element_bytes: int = 2) -> np.ndarray:
        """Return the argument that describes these matrices to the copy engine, in bf16 or (4 bytes) tf32."""
        size = max(1, self.cols), max(1, self.rows), self.matrices
        row = element_bytes * self.ld
        matrix = element_bytes * self.apart if self.matrices > 1 else size[1] * row
        encoded: np.ndarray = device.tensor_map(TensorMap(self.address, element_bytes, size, row, matrix, box))
        return encoded
