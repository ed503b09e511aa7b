"""Launches of kernels, which are built for the device's architecture and loaded at their first launch."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

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
        cubin = partial(build, kernel, device.arch)
        function = loaded[key] = device.load(kernel, cubin, plan.shared_bytes)
    device.launch(function, plan.grid, plan.block, plan.shared_bytes, arguments)
