"""A device without hardware: its arrays refuse what a GPU's refuse, and its work waits in queues until it is needed.

An array cannot be mixed with NumPy's, or be read by NumPy; MPI can read it only if the device says that MPI may.
Copies and sums are done as late as their queue allows (tests/late.py): who forgets to wait gets old numbers.
"""

import contextlib

import numpy as np

from tests.late import LateStream


class FakeDevice:
    """Queues, and arrays that belong to them.

    Parameters
    ----------
    mpi_reads : bool
        MPI can read its arrays (as a CUDA-aware one could).
    """

    def __init__(self, mpi_reads=False):
        self.mpi_reads = mpi_reads
        self.pinned_bytes = 0
        self.current = self.compute = FakeStream(self)

    def stream(self):
        return FakeStream(self)

    @contextlib.contextmanager
    def on(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def array(self, values):
        return FakeArray(self, np.array(values))

    def pinned_empty(self, shape, dtype):
        out = np.empty(shape, dtype)
        out.fill(77)
        self.pinned_bytes += out.nbytes
        return out

    def synchronize(self):
        self.compute.record().wait()

    def values(self, array):
        self.synchronize()
        return array.memory.copy()


class FakeStream(LateStream):
    """Copies between an array and the host's memory."""

    def copy(self, target, source):
        assert isinstance(target, np.ndarray) != isinstance(source, np.ndarray)
        assert target.size == source.size
        into, out_of = (x.memory if isinstance(x, FakeArray) else x for x in (target, source))
        self.do(lambda: np.copyto(into, out_of))


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
    shape = property(lambda self: self.memory.shape)
    flags = property(lambda self: self.memory.flags)

    def reshape(self, *shape):
        return FakeArray(self.device, self.memory.reshape(*shape))

    def __getitem__(self, key):
        return FakeArray(self.device, self.memory[key])

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("a NumPy array cannot be copied to the device like this")
        source = value.memory if isinstance(value, FakeArray) else value
        self.device.current.do(lambda: self.memory.__setitem__(key, source))

    def view(self, dtype):
        return FakeArray(self.device, self.memory.view(dtype))

    def __array_ufunc__(self, ufunc, method, *inputs, out):
        if method != "__call__" or not all(isinstance(x, FakeArray) for x in (*inputs, *out)):
            return NotImplemented
        raw = [x.memory for x in inputs]
        self.device.current.do(lambda: ufunc(*raw, out=out[0].memory))
        return out[0]

    def __array_function__(self, function, types, args, kwargs):
        if function is not np.empty_like:
            return NotImplemented
        return FakeArray(self.device, np.empty_like(args[0].memory, **kwargs))
