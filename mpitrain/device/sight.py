"""What this rank sees of its node's GPUs, asked of the driver itself: without one the answer takes no time."""

import ctypes
import importlib
import os
from typing import Any

from ..errors import UserError
from .choose import Place, Sight, assign
from .cpu import CPU, Device

DRIVER = "libcuda.so.1"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def look(asked: str, node: int) -> Sight:
    """Return what this rank sees, if it is to look at all; CuPy is imported only where there is a GPU.

    Parameters
    ----------
    asked : str
        auto, cpu or cuda.
    node : int
        A number for this rank's node.
    """
    if asked == "cpu":
        return Sight(node, (), "--device cpu")
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return Sight(node, (), f"there is no NVIDIA driver here ({DRIVER})")
    gpus, reason = _gpus(driver)
    if gpus:
        reason = _why_no_cupy(driver)
    return Sight(node, () if reason else gpus, reason)


def open_device(place: Place, precision: str = "fp32") -> Device:
    """Return the device at ``place``; ``precision`` is for a GPU's matrix products."""
    if place.number is None:
        return CPU
    device: Device = importlib.import_module(".cuda", __package__).CudaDevice(place.number)
    device.precision = precision
    return device


def open_gpu(what: str) -> Device:
    """Return this machine's first GPU, for a process that is alone with it.

    Parameters
    ----------
    what : str
        What cannot be done without one, for the message: "kernels cannot be checked".

    Raises
    ------
    UserError
        If there is none, or none that can be used.
    """
    sight = look("cuda", 0)
    device = open_device(assign([sight])[0])
    if device is CPU:
        raise UserError(f"{what} here: {sight.reason}")
    return device


def open_cublas() -> Any:
    """Return cuBLAS on the GPU that this process has opened, to measure against.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        return importlib.import_module(".cublas", __package__).Cublas()
    except ImportError as error:
        raise UserError(f"cuBLAS, to measure against, is missing ({error}): pip install 'cupy-cuda12x[ctk]'") from None


def _gpus(driver: Any) -> tuple[tuple[str, ...], str]:
    """Return the UUIDs of all visible GPUs, or why there are none."""
    error = driver.cuInit(0)
    count = ctypes.c_int(0)
    error = error or driver.cuDeviceGetCount(ctypes.byref(count))
    if error and error != NO_DEVICE:
        return (), f"the NVIDIA driver does not start (error {error} of cuInit)"
    uuids = []
    for number in range(count.value):
        device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
        if driver.cuDeviceGet(ctypes.byref(device), number) or driver.cuDeviceGetUuid_v2(uuid, device):
            return (), f"the NVIDIA driver does not say which GPU is number {number}"
        uuids.append(bytes(uuid).hex())
    if not uuids:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return (), "no GPU is visible" + (f" (CUDA_VISIBLE_DEVICES is '{visible}')" if visible is not None else "")
    return tuple(uuids), ""


def _why_no_cupy(driver: Any) -> str:
    """Return why CuPy cannot use the GPUs, empty if it can."""
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    extra = "cuda13" if version.value >= 13000 else "cuda12"
    try:
        cupy = importlib.import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        return f"there is a GPU, but CuPy is missing ({error}): pip install 'mpitrain[{extra}]'"
    except Exception as error:  # CuPy's own error type lives in what could not be started
        return f"CuPy does not start ({error}); for this driver: pip install 'mpitrain[{extra}]'"
    return ""
