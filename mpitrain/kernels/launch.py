"""Launches of kernels, which are built for the device's architecture and loaded at their first launch."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import CubinError, UserError
from . import nvrtc
from .build import build
from .kernel import Kernel
from .plan import Launch

_LOADED: "WeakKeyDictionary[Any, dict[tuple[Kernel, int], Any]]" = WeakKeyDictionary()


def launch(device: Any, kernel: Kernel, plan: Launch, arguments: Sequence[Any]) -> None:
    """Launch ``kernel`` on the compute stream of ``device``.

    Parameters
    ----------
    device : CudaDevice or a stand-in
    arguments : sequence
        Arrays of the device are passed as addresses, 0-d NumPy arrays (numbers, records) by value.
    """
    loaded = _LOADED.setdefault(device, {})
    key = kernel, plan.shared_bytes
    function = loaded.get(key)
    if function is None:
        function = loaded[key] = _load(device, kernel, plan.shared_bytes)
    device.launch(function, plan.grid, plan.block, plan.shared_bytes, arguments)


def _load(device: Any, kernel: Kernel, shared_bytes: int) -> Any:
    """Build and load a kernel, with another NVRTC if the driver refuses what the first one has built."""
    first = None
    while True:
        try:
            return device.load(kernel, partial(build, kernel, device.arch), shared_bytes)
        except CubinError as error:
            first = first or f"NVRTC {nvrtc.version()} built it: {error}"
            if nvrtc.use_next():
                continue
            driver = nvrtc.driver_version()
            known = f"knows CUDA {driver[0]}.{driver[1]}" if driver else "does not say which CUDA it knows"
            advice = f"; pip install 'mpitrain[cuda{driver[0]}]'" if driver and driver[0] in (12, 13) else ""
            raise UserError(
                f"the driver, which {known}, does not load kernels/{kernel.file} for {device.arch}. {first}{advice}, "
                "or set MPITRAIN_NVRTC to another libnvrtc.so"
            ) from error
