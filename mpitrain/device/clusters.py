"""The number of clusters of blocks that run at once: cuOccupancyMaxActiveClusters of the driver, which CuPy lacks."""

import ctypes
from collections.abc import Sequence

DRIVER = "libcuda.so.1"


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig. Without attributes the size of a cluster is the one that the kernel was compiled with."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("num_attributes", ctypes.c_uint),
    )


def max_active_clusters(function: int, grid: Sequence[int], block: Sequence[int], shared_bytes: int) -> int | None:
    """Return how many clusters of a kernel run at once on the current GPU; None where the driver does not say.

    Parameters
    ----------
    function : int
        The address of the CUfunction.
    """
    config = LaunchConfig((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared_bytes)
    count = ctypes.c_int()
    try:
        ask = ctypes.CDLL(DRIVER).cuOccupancyMaxActiveClusters
    except (OSError, AttributeError):  # no driver, or one from before CUDA 11.8
        return None
    error = ask(ctypes.byref(count), ctypes.c_void_p(function), ctypes.byref(config))
    return count.value if not error and count.value > 0 else None
