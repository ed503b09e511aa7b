"""The GPU device: CuPy arrays and our kernels. Imported only where a GPU was found; not yet run on one."""

import contextlib
import importlib
import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cupy
import numpy as np

from ..errors import CubinError
from .bf16 import widened
from .clusters import max_active_clusters
from .cpu import Device, Event, Graph, Stream, register
from .tensor_map import Im2colMap, TensorMap, encode


class CudaEvent(Event):
    """A CUDA event."""

    def __init__(self, event: Any):
        self.event = event

    def seconds_since(self, earlier: Event) -> float:
        """Return the seconds of work between two events that were recorded as timed, and have passed."""
        assert isinstance(earlier, CudaEvent), "an event of a GPU"
        return float(cupy.cuda.get_elapsed_time(earlier.event, self.event)) / 1e3

    def done(self) -> bool:
        """Return whether the work before it is done."""
        return bool(self.event.done)

    def wait(self) -> None:
        """Return when the work before it is done."""
        self.event.synchronize()


class CudaStream(Stream):
    """A CUDA stream."""

    def __init__(self, stream: Any):
        self.stream = stream

    def copy(self, target: Any, source: Any) -> None:
        """Begin to copy between host and device, or within the device."""
        if target.shape != source.shape or target.dtype != source.dtype:
            raise ValueError(f"a copy from {source.dtype} {source.shape} to {target.dtype} {target.shape}")
        if not (target.flags.c_contiguous and source.flags.c_contiguous):
            raise ValueError("a copy between arrays that are not contiguous")
        if not source.nbytes:
            return
        if isinstance(source, np.ndarray):
            target.data.copy_from_host_async(source.ctypes.data, source.nbytes, self.stream)
        elif isinstance(target, np.ndarray):
            source.data.copy_to_host_async(target.ctypes.data, source.nbytes, self.stream)
        else:
            target.data.copy_from_device_async(source.data, source.nbytes, self.stream)

    def record(self, timed: bool = False) -> Event:
        """Return an event after all work queued so far; ``timed`` for ``seconds_since``."""
        return CudaEvent(self.stream.record(cupy.cuda.Event(disable_timing=not timed)))

    def wait_for(self, event: Event) -> None:
        """Begin the work queued from now on after ``event``."""
        assert isinstance(event, CudaEvent), "an event of a GPU"
        self.stream.wait_event(event.event)


class CudaGraph(Graph):
    """A CUDA graph, for one stream."""

    def __init__(self, graph: Any, stream: Any):
        self._graph, self._stream = graph, stream

    def launch(self) -> None:
        """Launch it."""
        self._graph.launch(self._stream)


class CudaDevice(Device):
    """One GPU of this rank; its compute stream is CuPy's current stream in the thread that creates it.

    Parameters
    ----------
    number : int
        The GPU's number among those visible to this rank.

    Attributes
    ----------
    arch : str
        The architecture for which kernels are compiled: sm_80, sm_90a ...
    num_processors : int
        The number of multiprocessors (SM).
    clock_hz : float
        The highest clock of a multiprocessor.
    identity : str
        Host and bus address: two ranks with the same identity share a GPU.
    """

    xp = cupy
    captures = True

    def __init__(self, number: int):
        super().__init__()
        cupy.cuda.Device(number).use()
        properties = cupy.cuda.runtime.getDeviceProperties(number)
        self.name = properties["name"].decode()
        self.num_processors = int(properties["multiProcessorCount"])
        self.clock_hz = 1e3 * int(properties["clockRate"])
        capability = int(cupy.cuda.Device(number).compute_capability)
        self.arch = f"sm_{capability}{'a' * (capability >= 90)}"
        self.identity = f"{platform.node()} {cupy.cuda.Device(number).pci_bus_id}"
        stream = cupy.cuda.Stream(non_blocking=True)
        stream.use()
        self.compute: CudaStream = CudaStream(stream)
        register(cupy.ndarray, self)
        self._capture = contextlib.ExitStack()
        self._graph_pool = cupy.cuda.MemoryPool()

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """Return uninitialized memory of the GPU."""
        self._allocates()
        return cupy.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """Return zeroed memory of the GPU."""
        self._allocates()
        return cupy.zeros(shape, dtype)

    @property
    def free_bytes(self) -> int:
        """The bytes of the GPU's free memory, with what CuPy keeps for arrays to come."""
        return int(cupy.cuda.Device().mem_info[0]) + int(cupy.get_default_memory_pool().free_bytes())

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return pinned memory of the host."""
        self._refuse_in_capture()
        count, dtype = math.prod(shape), np.dtype(dtype)
        memory = cupy.cuda.alloc_pinned_memory(max(1, count * dtype.itemsize))
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def from_host(self, array: np.ndarray) -> Any:
        """Return a copy of ``array`` on the GPU."""
        self._refuse_in_capture()
        return cupy.asarray(array)

    def to_host(self, array: Any) -> np.ndarray:
        """Return a copy of ``array`` on the host, in fp32 if it is bf16; waits for the GPU."""
        return widened(cupy.asnumpy(array))

    def synchronize_current(self) -> None:
        """Return when all work is done that was queued on the stream of this thread's computations."""
        cupy.cuda.get_current_stream().synchronize()

    def stream(self) -> Stream:
        """Return a new stream for copies that overlap the computation."""
        return CudaStream(cupy.cuda.Stream(non_blocking=True))

    def on(self, stream: Stream) -> contextlib.AbstractContextManager[Any]:
        """Queue the computations of a ``with`` block on ``stream``; CuPy's streams are context managers."""
        assert isinstance(stream, CudaStream), "a stream of a GPU"
        found: contextlib.AbstractContextManager[Any] = stream.stream
        return found

    def begin_capture(self) -> None:
        """Begin to capture the compute stream.

        Meanwhile CuPy's functions allocate from a pool that serves captures alone: a graph uses that memory at every
        launch, although CuPy regards it as free.
        """
        self._capture.enter_context(cupy.cuda.using_allocator(self._graph_pool.malloc))
        self.compute.stream.begin_capture()
        self.capturing = True

    def end_capture(self) -> Graph:
        """Return the captured graph."""
        self.capturing = False
        self._capture.close()
        return CudaGraph(self.compute.stream.end_capture(), self.compute.stream)

    def _allocates(self) -> None:
        self._refuse_in_capture()
        self.allocations += 1

    def _refuse_in_capture(self) -> None:
        if self.capturing:
            raise RuntimeError("memory was requested while work is captured")

    def load(self, kernel: Any, cubin: Callable[[], Path], shared_bytes: int) -> Any:
        """Return ``kernel``, built by ``cubin``, ready for launches with ``shared_bytes`` of dynamic shared memory.

        Raises
        ------
        CubinError
            If the driver does not load it.
        """
        path = str(cubin())
        try:
            function = cupy.RawModule(path=path).get_function(kernel.name)
        except RuntimeError as error:  # CUDADriverError
            raise CubinError(f"{error}") from error
        if shared_bytes:  # without it, 48 KB less what the kernel has of static shared memory
            function.max_dynamic_shared_size_bytes = shared_bytes
        return function

    def make_group_id(self) -> Any:
        """Return the identifier that all ranks of a new NCCL group must be given."""
        return importlib.import_module(".nccl", __package__).make_id()

    def make_group(self, unique_id: Any, size: int, rank: int) -> Any:
        """Return the NCCL group of all ranks (collective call)."""
        return importlib.import_module(".nccl", __package__).NcclGroup(self, unique_id, size, rank)

    def tensor_map(self, planned: TensorMap | Im2colMap) -> np.ndarray:
        """Return ``planned`` in the form in which kernels take it."""
        return encode(planned)

    def max_clusters(self, function: Any, grid: Any, block: Any, shared_bytes: int) -> int | None:
        """Return how many clusters of a loaded kernel run at once; None if that is unknown."""
        return max_active_clusters(function.kernel.ptr, grid, block, shared_bytes)

    def launch(self, function: Any, grid: Any, block: Any, shared_bytes: int, arguments: Sequence[Any]) -> None:
        """Launch on the compute stream: arrays of this device by address, 0-d NumPy arrays by value."""
        function(grid, block, tuple(arguments), shared_mem=shared_bytes)
