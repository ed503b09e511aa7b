"""A device that is none: its arrays refuse what a GPU's refuse, and its work waits in a queue until somebody asks.

An array cannot be mixed with NumPy's, or be read by NumPy; MPI can read it only if the device says that MPI may.
Copies and sums are done when the device synchronises, and not before: who forgets to, gets old numbers.
"""

import contextlib

import numpy as np


class FakeDevice:
    """A queue, and arrays that belong to it.

    Parameters
    ----------
    mpi_reads : bool
        MPI can read its arrays (as a CUDA-aware one could).
    """

    def __init__(self, mpi_reads=False):
        self.mpi_reads = mpi_reads
        self.queue = []
        self.pinned_bytes = 0

        self.compute = FakeStream(self)

    def stream(self):
        return FakeStream(self)

    def on(self, stream):
        return contextlib.nullcontext()

    def array(self, values):
        return FakeArray(self, np.array(values))

    def pinned_empty(self, shape, dtype):
        out = np.empty(shape, dtype)
        self.pinned_bytes += out.nbytes
        return out

    def copy_to_host(self, host, array):
        assert isinstance(host, np.ndarray)
        assert host.size == array.size
        self.queue.append(lambda: np.copyto(host, array.memory))

    def copy_from_host(self, array, host):
        assert isinstance(host, np.ndarray)
        assert host.size == array.size
        self.queue.append(lambda: np.copyto(array.memory, host))

    def synchronise(self):
        waiting, self.queue = self.queue, []
        for work in waiting:
            work()

    def values(self, array):
        self.synchronise()
        return array.memory.copy()


class FakeStream:
    """All streams of a FakeDevice are one queue."""

    def __init__(self, device):
        self.device = device

    def copy(self, target, source):
        to_host = isinstance(target, np.ndarray)
        self.device.copy_to_host(target, source) if to_host else self.device.copy_from_host(target, source)

    def record(self):
        return self

    def wait_for(self, event):
        pass

    def wait(self):
        self.device.synchronise()


class FakeArray:
    """An array of a FakeDevice, as much of it as a plan uses."""

    def __init__(self, device, memory):
        self.device, self.memory = device, memory

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    @property
    def __cuda_array_interface__(self):
        if not self.device.mpi_reads:
            raise AttributeError("MPI looked at an array that it cannot read")
        return {**self.memory.__array_interface__, "version": 3}

    size = property(lambda self: self.memory.size)
    dtype = property(lambda self: self.memory.dtype)
    itemsize = property(lambda self: self.memory.itemsize)
    nbytes = property(lambda self: self.memory.nbytes)

    def __getitem__(self, key):
        return FakeArray(self.device, self.memory[key])

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("a NumPy array cannot be copied to the device like this")
        source = value.memory if isinstance(value, FakeArray) else value
        self.device.queue.append(lambda: self.memory.__setitem__(key, source))

    def view(self, dtype):
        return FakeArray(self.device, self.memory.view(dtype))

    def __array_ufunc__(self, ufunc, method, *inputs, out):
        if method != "__call__" or not all(isinstance(x, FakeArray) for x in (*inputs, *out)):
            return NotImplemented
        raw = [x.memory for x in inputs]
        self.device.queue.append(lambda: ufunc(*raw, out=out[0].memory))
        return out[0]

    def __array_function__(self, function, types, args, kwargs):
        if function is not np.empty_like:
            return NotImplemented
        return FakeArray(self.device, np.empty_like(args[0].memory, **kwargs))
