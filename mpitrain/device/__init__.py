"""Devices: the CPU, or one GPU for each rank. This package is the only importer of cupy.

``cpu.py`` is both a product and the oracle, ``cuda.py`` offers the same interface over CuPy, ``discovery.py`` finds the
GPUs that a rank can see, ``assignment.py`` gives each rank its GPU, ``tensor_map.py`` describes arrays to a copy
engine, ``bf16.py`` is the type of arrays in bf16, ``weight_copy.py`` the copies of weights in it, ``cublas.py`` and
``nccl.py`` are peers to measure against, ``buffers.py`` and ``loans.py`` are memory that is used again.
"""

from .assignment import GpuSlot, VisibleGpus, assign, notes
from .bf16 import bfloat16, is_bf16
from .buffers import Blocks, Buffers, Overlay
from .cpu import ALIGNMENT, CPU, Device, Event, Graph, Stream, device_of, register
from .discovery import cublas_error, discover, open_cublas, open_device, open_gpu
from .loans import Loans
from .tensor_map import Im2colMap, TensorMap, join_maps
from .weight_copy import WeightCopy

__all__ = [
    "ALIGNMENT",
    "CPU",
    "Blocks",
    "Buffers",
    "Device",
    "Event",
    "GpuSlot",
    "Graph",
    "Im2colMap",
    "Loans",
    "Overlay",
    "Stream",
    "TensorMap",
    "VisibleGpus",
    "WeightCopy",
    "assign",
    "bfloat16",
    "cublas_error",
    "device_of",
    "discover",
    "is_bf16",
    "join_maps",
    "notes",
    "open_cublas",
    "open_device",
    "open_gpu",
    "register",
]
