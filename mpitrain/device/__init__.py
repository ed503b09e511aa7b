"""Where arrays live: the CPU, or one GPU for each rank. The only importer of cupy.

``cpu.py`` is the product and the oracle, ``cuda.py`` offers the same over CuPy, ``sight.py`` is what a rank finds out
about its node's GPUs, ``choose.py`` decides who takes which, ``tensor_map.py`` describes matrices to a copy engine,
``cublas.py`` and ``nccl.py`` are what ours is measured against.
"""

from .choose import Place, Sight, assign, notes
from .cpu import ALIGNMENT, CPU, Device, Event, Graph, Stream, device_of, register
from .sight import look, open_cublas, open_device, open_gpu
from .tensor_map import TensorMap

__all__ = [
    "ALIGNMENT",
    "CPU",
    "Device",
    "Event",
    "Graph",
    "Place",
    "Sight",
    "Stream",
    "TensorMap",
    "assign",
    "device_of",
    "look",
    "notes",
    "open_cublas",
    "open_device",
    "open_gpu",
    "register",
]
