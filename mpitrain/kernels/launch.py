"""Launches of kernels, which are built for the device's architecture and loaded at their first launch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import CubinError, UserError
from . import nvrtc
from .build import find_or_build, refuse, version_of
from .kernel import Kernel
from .launch_watch import LaunchWatch, from_environment
from .plan import MOST_BLOCKS, Launch

WATCH = from_environment()
_LOADED: "WeakKeyDictionary[Any, dict[tuple[Kernel, int], tuple[Any, int]]]" = WeakKeyDictionary()


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
    if key not in loaded:
        function = _load(device, kernel, plan.shared_bytes)
        loaded[key] = function, _most_blocks(device, function, plan)
    function, most = loaded[key]
    grid = min(plan.grid[0], most), plan.grid[1], plan.grid[2]
    with nullcontext() if WATCH is None else WATCH.over(device, kernel, plan, arguments):
        device.launch(function, grid, plan.block, plan.shared_bytes, arguments)


@contextmanager
def watched(limit_s: float) -> Iterator[None]:
    """Wait for the end of each launch in a ``with`` block, at most so long (see launch_watch.py)."""
    global WATCH
    before = WATCH
    WATCH = before or _watch(limit_s)
    try:
        yield
    finally:
        WATCH = before


_watch = cache(LaunchWatch)


def _most_blocks(device: Any, function: Any, plan: Launch) -> int:
    """Return the largest first dimension of a grid: for clusters, as many as run at once, if the GPU says it."""
    if plan.cluster == 1:
        return MOST_BLOCKS[0]
    clusters = device.max_clusters(function, plan.grid, plan.block, plan.shared_bytes)
    return MOST_BLOCKS[0] if clusters is None else int(clusters) * plan.cluster


def _load(device: Any, kernel: Kernel, shared_bytes: int) -> Any:
    """Build and load a kernel, with another NVRTC if the driver refuses what the first one has built."""
    first: str | None = None
    paths: list[Path] = []

    def cubin() -> Path:
        paths.append(find_or_build(kernel, device.arch))
        return paths[-1]

    while True:
        try:
            return device.load(kernel, cubin, shared_bytes)
        except CubinError as error:
            version = version_of(paths[-1]) if paths else nvrtc.version()
            first = first or f"NVRTC {version} built it: {error}"
            if refuse(kernel, device.arch, version):
                continue
            driver = nvrtc.driver_version()
            known = f"knows CUDA {driver[0]}.{driver[1]}" if driver else "does not say which CUDA it knows"
            advice = f"; pip install 'mpitrain[cuda{driver[0]}]'" if driver and driver[0] in (12, 13) else ""
            raise UserError(
                f"the driver, which {known}, does not load kernels/{kernel.path} for {device.arch}. {first}{advice}, "
                "or set MPITRAIN_NVRTC to another libnvrtc.so"
            ) from error
