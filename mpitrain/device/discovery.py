"""Discovery of this node's GPUs through the driver itself: without a driver the answer takes no time."""

import ctypes
import importlib
import os
from typing import Any

from ..errors import UserError
from .assignment import GpuSlot, VisibleGpus, assign
from .cpu import CPU, Device

DRIVER = "libcuda.so.1"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
INSTALL_CUBLAS = "pip install nvidia-cublas-cu12 (for CUDA 12) or nvidia-cublas (for CUDA 13)"


def discover(asked: str, node: int) -> VisibleGpus:
    """Return the GPUs that this rank can see; CuPy is imported only where there is a GPU.

    Parameters
    ----------
    asked : str
        auto, cpu or cuda; for cpu nothing is looked for.
    node : int
        A number for this rank's node.
    """
    if asked == "cpu":
        return VisibleGpus(node, (), "--device cpu")
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return VisibleGpus(node, (), f"there is no NVIDIA driver here ({DRIVER})")
    gpus, reason = _gpus(driver)
    if gpus:
        reason = _why_no_cupy(driver)
    return VisibleGpus(node, () if reason else gpus, reason)


def open_device(slot: GpuSlot, precision: str = "fp32") -> Device:
    """Return the device of ``slot``; ``precision`` is that of a GPU (``Device.precision``)."""
    if slot.number is None:
        return CPU
    device: Device = importlib.import_module(".cuda", __package__).CudaDevice(slot.number)
    device.precision = precision
    assert device.activation_dtype  # if not, now is the time to say it
    return device


def open_gpu(task: str) -> Device:
    """Return this machine's first GPU, for a process that has it to itself.

    Parameters
    ----------
    task : str
        The clause with which the error message begins: "kernels cannot be checked".

    Raises
    ------
    UserError
        If there is no GPU, or none that can be used.
    """
    visible = discover("cuda", 0)
    device = open_device(assign([visible])[0])
    if device is CPU:
        raise UserError(f"{task} here: {visible.reason}")
    return device


def open_cublas() -> Any:
    """Return cuBLAS on the GPU that this process has opened, as a peer to measure against.

    Raises
    ------
    UserError
        If cuBLAS is not installed.
    """
    try:
        return importlib.import_module(".cublas", __package__).Cublas()
    except ImportError as error:
        raise UserError(f"cuBLAS, to measure against, is missing ({error}): {INSTALL_CUBLAS}") from None


def cublas_error(error: ImportError, what: str) -> UserError | None:
    """Return the error of ``what``, a product that CuPy computes by cuBLAS, where ``error`` says that it is missing.

    No kernel of ours needs cuBLAS, so it is not installed with mpitrain; a user's own product of arrays may.
    """
    if "cublas" not in str(error):
        return None
    return UserError(f"{what} needs cuBLAS, which is not installed: {INSTALL_CUBLAS}")


def _gpus(driver: Any) -> tuple[tuple[str, ...], str]:
    """Return the UUIDs of all visible GPUs, or the reason why there are none."""
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
    """Return the reason why CuPy cannot use the GPUs; empty if it can."""
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    extra = "cuda13" if version.value >= 13000 else "cuda12"
    try:
        cupy = importlib.import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        return f"there is a GPU, but CuPy is missing ({error}): pip install 'mpitrain[{extra}]'"
    except Exception as error:  # CuPy's own error type is in the package that failed to start
        return f"CuPy does not start ({error}); for this driver: pip install 'mpitrain[{extra}]'"
    return ""
