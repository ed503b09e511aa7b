"""A GPU that is none: arrays that behave as CuPy's (arrays.py), kernels built by g++ (tests/kernels), streams that lag.

Ops run at once, but a copy on another stream is done as late as the rules allow: when somebody waits for an event after
it. Until then the target holds NaN. Who reads it too early, or writes to the source too early, gets wrong numbers.
"""

import contextlib
from collections import Counter

import numpy as np

from mpitrain.device import Device, Event, Stream, register
from tests.gpu.arrays import Array, HiddenSync, unwrap
from tests.kernels import cpu, gemm


class LateEvent(Event):
    """A point in a stream's queue."""

    def __init__(self, stream, place):
        super().__init__()
        self.stream, self.place, self.polls = stream, place, 0

    def done(self):
        """False when first asked."""
        self.polls += 1
        if self.polls > 1:
            self.stream.run_until(self.place)
        return self.polls > 1

    def wait(self):
        self.stream.run_until(self.place)


class LateStream(Stream):
    """Copies that are done when they must be."""

    def __init__(self, device):
        self.device, self.queue, self.first = device, [], 0

    def copy(self, target, source):
        into, out_of = (x.memory if isinstance(x, Array) else x for x in (target, source))
        assert into.shape == out_of.shape, (into.shape, out_of.shape)
        assert into.dtype == out_of.dtype, (into.dtype, out_of.dtype)
        assert into.flags.c_contiguous
        assert out_of.flags.c_contiguous
        assert isinstance(target, Array) or isinstance(source, Array), "a copy from host to host"
        spoil(into)
        self.queue.append(lambda: np.copyto(into, out_of))
        self.device.copies += 1

    def record(self, timed=False):
        return LateEvent(self, self.first + len(self.queue))

    def wait_for(self, event):
        event.stream.run_until(event.place)

    def run_until(self, place):
        while self.first < place:
            self.queue.pop(0)()
            self.first += 1


class ComputeEvent(LateEvent):
    """Who waits for this one waits for all that was queued."""

    def wait(self):
        self.stream.device.syncs += 1


class ComputeStream(LateStream):
    """Where ops run: at once, so its own copies are too."""

    def record(self, timed=False):
        return ComputeEvent(self, self.first)

    def copy(self, target, source):
        super().copy(target, source)
        self.run_until(self.first + len(self.queue))


class ShimDevice(Device):
    """Stands for one GPU.

    Attributes
    ----------
    buffers, temporaries : int
        Arrays that were asked for by name of this device, and results that NumPy functions made.
    calls : int
        NumPy functions that ran: at least one launch each on a GPU.
    launches : Counter
        Of our kernels, by name.
    syncs : int
        Times that the host waited for all that was queued.
    copies : int
        Between host and device.
    """

    name = "CUDA on the CPU"

    def __init__(self, arch="sm_80", num_processors=4):
        super().__init__()
        self.arch, self.num_processors, self.clock_hz = arch, num_processors, 1e9
        self.buffers = self.temporaries = self.calls = self.syncs = self.copies = 0
        self.launches = Counter()
        self.compute = ComputeStream(self)
        self._seed = 0
        register(Array, self)

    def __hash__(self):
        return id(self)

    def empty(self, shape, dtype=np.float32):
        self.buffers += 1
        out = super().empty(shape, dtype)
        spoil(out)
        return Array(out, self)

    def zeros(self, shape, dtype=np.float32):
        out = self.empty(shape, dtype)
        out.memory.fill(0)
        return out

    def pinned_empty(self, shape, dtype=np.float32):
        out = np.empty(shape, dtype)
        spoil(out)
        return out

    def from_host(self, array):
        self.buffers += 1
        self.copies += 1
        return Array(np.array(array), self)

    def to_host(self, array):
        if not isinstance(array, Array):
            return np.asarray(array)
        self.syncs += 1
        return array.memory.copy()

    def stream(self):
        return LateStream(self)

    @contextlib.contextmanager
    def on(self, stream):
        """Ops run at once, and so after all that was asked of the stream."""
        stream.run_until(stream.first + len(stream.queue))
        yield

    def new(self, memory):
        self.temporaries += 1
        self.worked()
        return Array(memory, self)

    def worked(self):
        self.calls += 1

    def run(self, function, args, kwargs):
        """Run a NumPy function on the memories behind its arguments."""
        out = kwargs.get("out")
        if out is not None and not isinstance(out, Array):
            raise HiddenSync(f"{function.__name__} into a NumPy array")
        result = function(*unwrap(tuple(args)), **{key: unwrap(value) for key, value in kwargs.items()})
        if out is not None:
            self.worked()
            return out
        if result is None:
            self.worked()
            return None
        if isinstance(result, (list, tuple)):
            return type(result)(Array(np.asarray(part), self) for part in result)
        return self.new(np.asarray(result))

    def load(self, kernel, cubin, shared_bytes):
        assert kernel.fits(self.arch), f"{kernel} was launched on {self.arch}"
        return kernel.name, cpu.build_here(kernel.file, **dict(kernel.macros))

    def tensor_map(self, planned):
        return gemm.shim_map(
            planned.address,
            planned.element_bytes,
            planned.size,
            (planned.element_bytes, planned.row_bytes, planned.matrix_bytes),
            planned.box,
        )

    def launch(self, function, grid, block, shared_bytes, arguments):
        name, kernels = function
        self.launches[name] += 1
        self._seed += 1
        memories = [a.memory if isinstance(a, Array) else a for a in arguments]
        kernels.launch(name, grid=grid, block=block, arguments=memories, seed=self._seed, shared_bytes=shared_bytes)

    @contextlib.contextmanager
    def counted(self):
        """Count what happens in a ``with`` block; gives a dictionary that is filled at its end."""
        names = ("buffers", "temporaries", "calls", "syncs", "copies")
        before, launches = {name: getattr(self, name) for name in names}, self.launches.copy()
        found = {}
        yield found
        found.update({name: getattr(self, name) - before[name] for name in names})
        found["launches"] = self.launches - launches


def spoil(memory):
    """Fill with what nobody expects."""
    if memory.dtype.kind == "f":
        memory.fill(np.nan)
    elif memory.dtype.kind in "iu":
        memory.fill(np.iinfo(memory.dtype).max)
