"""cuBLAS in NumPy, behind the functions of CuPy 14's ``cupy.cuda.cublas``: columns first, host memory by address."""

import ctypes
import importlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np

R_32F, R_16BF = 0, 14
TYPES = {R_32F: np.float32, R_16BF: np.uint16}
COMPUTES = []  # of every call


def matrix(address, kind, rows, cols, ld):
    """Return the column-major matrix at ``address``."""
    dtype = np.dtype(TYPES[kind])
    count = ld * max(0, cols - 1) + rows
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    flat = np.frombuffer(memory, dtype)
    return np.lib.stride_tricks.as_strided(flat, (rows, cols), (dtype.itemsize, ld * dtype.itemsize))


def numbers(values):
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.astype(np.float64)


def gemm_ex(handle, transa, transb, m, n, k, alpha, a, atype, lda, b, btype, ldb, beta, c, ctype, ldc, compute, algo):
    """C (m, n) = alpha op(A) op(B) + beta C, with the signature of cupy.cuda.cublas.gemmEx."""
    assert lda >= (k if transa else m), "lda"
    assert ldb >= (n if transb else k), "ldb"
    assert ldc >= m, "ldc"
    COMPUTES.append(compute)
    left = matrix(a, atype, *((k, m) if transa else (m, k)), lda)
    right = matrix(b, btype, *((n, k) if transb else (k, n)), ldb)
    product = numbers(left.T if transa else left) @ numbers(right.T if transb else right)
    alpha, beta = (ctypes.c_float.from_address(x).value for x in (alpha, beta))
    assert (alpha, beta) == (1.0, 0.0)
    out = matrix(c, ctype, m, n, ldc)
    out[...] = product if ctype == R_32F else (product.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def gemm_strided_batched_ex(handle, transa, transb, m, n, k, alpha, *rest):
    """With the signature of cupy.cuda.cublas.gemmStridedBatchedEx."""
    *a, a_apart = rest[:4]
    *b, b_apart = rest[4:8]
    beta, *c, c_apart, count, compute, algo = rest[8:]
    for i in range(count):
        each = [
            (x[0] + i * apart * TYPES[x[1]]().itemsize, *x[1:])
            for x, apart in ((a, a_apart), (b, b_apart), (c, c_apart))
        ]
        gemm_ex(handle, transa, transb, m, n, k, alpha, *each[0], *each[1], beta, *each[2], compute, algo)


def open_cublas(monkeypatch):
    """Return ``device.cublas.Cublas`` over these functions."""
    cublas = SimpleNamespace(
        CUBLAS_OP_N=0,
        CUBLAS_OP_T=1,
        CUBLAS_COMPUTE_32F=68,
        CUBLAS_COMPUTE_32F_FAST_TF32=77,
        CUBLAS_GEMM_DEFAULT=-1,
        gemmEx=gemm_ex,
        gemmStridedBatchedEx=gemm_strided_batched_ex,
        getVersion=lambda handle: 120903,
    )
    cupy, cuda = ModuleType("cupy"), ModuleType("cupy.cuda")
    cuda.cublas, cuda.runtime = cublas, SimpleNamespace(CUDA_R_32F=R_32F, CUDA_R_16BF=R_16BF)
    cuda.get_cublas_handle = lambda: 1
    cupy.cuda = cuda
    for name, module in (("cupy", cupy), ("cupy.cuda", cuda)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "mpitrain.device.cublas", raising=False)
    try:
        return importlib.import_module("mpitrain.device.cublas").Cublas()
    finally:
        sys.modules.pop("mpitrain.device.cublas", None)
