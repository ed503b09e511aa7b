"""NVIDIA's matrix product, through CuPy, used only as the peer in benchmarks.

cuBLAS is column-major. Row-major C = A B is C^T = B^T A^T in column-major order: the factors change places, and each
keeps its transposition.
"""

from typing import Any, Protocol

import cupy
import numpy as np
from cupy.cuda import cublas, runtime


class StoredMatrices(Protocol):
    """Matrices in memory (``kernels.matrices.Matrices``)."""

    address: int
    ld: int
    apart: int


class Cublas:
    """cuBLAS on the current GPU and the current stream."""

    def __init__(self) -> None:
        self._handle = cupy.cuda.get_cublas_handle()
        self._one, self._zero = np.array(1, np.float32), np.array(0, np.float32)

    @property
    def version(self) -> str:
        """The version, such as 13.1.0."""
        number = int(cublas.getVersion(self._handle))
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

    def multiply(
        self,
        sizes: tuple[int, int, int, int],
        a: StoredMatrices,
        b: StoredMatrices,
        out: StoredMatrices,
        *,
        transpose_a: bool,
        transpose_b: bool,
        inputs: str,
        outputs: str,
    ) -> None:
        """Queue out = A B of ``sizes`` (m, n, k, batch), in the precision ``inputs``, with sums in fp32."""
        m, n, k, batch = sizes
        kind = runtime.CUDA_R_16BF if inputs == "bf16" else runtime.CUDA_R_32F
        kind_out = runtime.CUDA_R_16BF if outputs == "bf16" else runtime.CUDA_R_32F
        compute = cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if inputs == "tf32" else cublas.CUBLAS_COMPUTE_32F
        first: tuple[Any, ...] = (b.address, kind, b.ld)
        second: tuple[Any, ...] = (a.address, kind, a.ld)
        third: tuple[Any, ...] = (out.address, kind_out, out.ld)
        call = cublas.gemmEx
        tail: tuple[Any, ...] = (compute, cublas.CUBLAS_GEMM_DEFAULT)
        if batch > 1:
            call, tail = cublas.gemmStridedBatchedEx, (batch, *tail)
            first, second, third = (*first, b.apart), (*second, a.apart), (*third, out.apart)
        call(
            self._handle,
            *(cublas.CUBLAS_OP_T if transposed else cublas.CUBLAS_OP_N for transposed in (transpose_b, transpose_a)),
            *(n, m, k),
            *(self._one.ctypes.data, *first, *second),
            *(self._zero.ctypes.data, *third),
            *tail,
        )
