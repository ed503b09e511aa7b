"""A GPU that is none: arrays that behave as CuPy's (arrays.py), kernels built by g++ (tests/kernels), streams that lag.

Ops run at once on the compute stream. What is asked of any other stream is done as late as the rules allow: when
somebody waits for an event after it (tests/late.py). Until then the target of a copy holds NaN. Who reads it too early,
or writes to the source too early, gets wrong numbers.

While work is captured nothing of it is done: launches and copies are written down with the memory that they mean now,
and done when the graph is launched, over that memory. What CUDA refuses meanwhile is refused.
"""

import contextlib
import json
import os
from collections import Counter

import numpy as np

from mpitrain.device import Device, Graph, is_bf16, register
from mpitrain.device.bf16 import widened
from tests.gpu.arrays import CAPTURED, MISSING, Array, HiddenSync, unwrap
from tests.kernels import cpu
from tests.kernels.products import gemm
from tests.late import LateEvent, LateStream

MUTATING = {"copyto", "put", "putmask", "place", "fill_diagonal"}


class CaptureRefused(RuntimeError):
    """CUDA would end the capture with an error."""


class CopyStream(LateStream):
    """Copies that are done when they must be."""

    def copy(self, target, source):
        into, out_of = (x.memory if isinstance(x, Array) else x for x in (target, source))
        assert into.shape == out_of.shape, (into.shape, out_of.shape)
        assert into.dtype == out_of.dtype, (into.dtype, out_of.dtype)
        assert into.flags.c_contiguous
        assert out_of.flags.c_contiguous
        assert isinstance(target, Array) or isinstance(source, Array), "a copy from host to host"
        if self.device.tape is None:
            spoil(into)
        self.do(lambda: np.copyto(into, out_of))
        self.device.copies += 1

    def wait_for(self, event):
        if self.device.tape is not None and event.stream is self.device.compute:
            raise CaptureRefused("another stream would be drawn into the capture")
        super().wait_for(event)


class ComputeEvent(LateEvent):
    """An event of the compute stream: a wait for it is a wait for all queued work."""

    def wait(self):
        self.stream.device.refuse_in_capture("waiting for the GPU")
        self.stream.device.syncs += 1

    def done(self):
        self.stream.device.refuse_in_capture("asking for an event")
        return super().done()


class ComputeStream(CopyStream):
    """The stream of ops, which run at once."""

    def do(self, work):
        work() if self.device.tape is None else self.device.tape.append(work)

    def record(self, timed=False):
        event = ComputeEvent(self, self.first)
        if timed:
            self.do(event.stamp)
        return event

    def wait_for(self, event):
        self.device.refuse_in_capture("waiting for what was not captured")
        if event.stream is not self:
            event.stream.run_until(event.place)


class Tape(Graph):
    """A graph of captured work."""

    def __init__(self, device, works):
        self.device, self.works, self.launches = device, works, 0

    def launch(self):
        self.device.refuse_in_capture("launching a graph")
        self.launches += 1
        for work in self.works:
            work()


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
    pinned : int
        Arrays of page-locked memory that were asked for: it costs the driver more than any other.
    syncs : int
        Times that the host waited for all that was queued.
    copies : int
        Between host and device.
    tape : list or None
        What is being captured.
    cublas : bool
        Whether CuPy finds cuBLAS, which it needs for products; no kernel of ours does.
    """

    captures = True
    cublas = False

    name = "CUDA on the CPU"

    def __init__(self, arch="sm_80", num_processors=4):
        super().__init__()
        self.arch, self.num_processors, self.clock_hz = arch, num_processors, 1e9
        self.buffers = self.temporaries = self.calls = self.syncs = self.copies = self.pinned = 0
        self.launches = Counter()
        self.current = self.compute = ComputeStream(self)
        self.tape = None
        self._seed = 0
        self._kept = []  # a graph may still mean memory that nobody else knows
        register(Array, self)

    def __hash__(self):
        return id(self)

    def empty(self, shape, dtype=np.float32):
        self.refuse_in_capture("asking for memory")
        self.buffers += 1
        self.allocations += 1
        out = super().empty(shape, dtype)
        spoil(out)
        self._kept.append(out)
        return Array(out, self)

    def zeros(self, shape, dtype=np.float32):
        out = self.empty(shape, dtype)
        out.memory.fill(0)
        return out

    def pinned_empty(self, shape, dtype=np.float32):
        self.refuse_in_capture("asking for page-locked memory")
        self.pinned += 1
        out = np.empty(shape, dtype)
        spoil(out)
        return out

    def from_host(self, array):
        self.refuse_in_capture("a copy that is waited for")
        self.buffers += 1
        self.copies += 1
        return Array(np.array(array), self)

    def to_host(self, array):
        if not isinstance(array, Array):
            return widened(np.asarray(array))
        self.refuse_in_capture("reading an array")
        self.syncs += 1
        return widened(array.memory.copy())

    def stream(self):
        return CopyStream(self)

    @contextlib.contextmanager
    def on(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    @property
    def capturing(self):
        return self.tape is not None

    def synchronize_current(self):
        self.current.record().wait()

    def begin_capture(self):
        self.refuse_in_capture("a second capture")
        self.tape = []

    def end_capture(self):
        works, self.tape = self.tape, None
        return Tape(self, works)

    def refuse_in_capture(self, what):
        if self.tape is not None:
            raise CaptureRefused(f"{what} while work is captured")

    def call_cublas(self):
        """Refuse a function of CuPy's that calls cuBLAS, where CuPy does."""
        if not self.cublas:
            raise ImportError(MISSING)
        if self.tape is not None:
            raise NotImplementedError(CAPTURED)  # CuPy's own error here: it has no cuBLAS in a capture

    def do(self, work):
        """Do ``work`` when the current stream comes to it."""
        self.worked()
        self.current.do(work)

    def made(self, make):
        """Return the array of what ``make`` returns, which is there when the current stream comes to it."""
        self.temporaries += 1
        memory = np.array(make())
        self._kept.append(memory) if self.tape is not None else None
        if self.tape is not None or self.current is not self.compute:
            spoil(memory)
            self.do(lambda: np.copyto(memory, make()))
        else:
            self.worked()
        return Array(memory, self)

    def worked(self):
        self.calls += 1

    def run(self, function, args, kwargs):
        """Run a NumPy function on the memories behind its arguments."""
        out = kwargs.get("out")
        if out is not None and not isinstance(out, Array):
            raise HiddenSync(f"{function.__name__} into a NumPy array")
        args, kwargs = unwrap(tuple(args)), {key: unwrap(value) for key, value in kwargs.items()}
        if out is not None or function.__name__ in MUTATING:
            self.do(lambda: function(*args, **kwargs))
            return out
        with np.errstate(all="ignore"):
            result = function(*args, **kwargs)
        if isinstance(result, (list, tuple)):
            return type(result)(Array(np.asarray(part), self) for part in result)
        if any(np.shares_memory(result, arg) for arg in args if isinstance(arg, np.ndarray)):
            return Array(result, self)
        return self.made(lambda: function(*args, **kwargs))

    def load(self, kernel, cubin, shared_bytes):
        assert kernel.fits(self.arch), f"{kernel} was launched on {self.arch}"
        write_down(kernel)
        return kernel.name, cpu.build_here(kernel.file, **dict(kernel.macros))

    def max_clusters(self, function, grid, block, shared_bytes):
        return None

    def tensor_map(self, planned):
        return gemm.shim_planned_map(planned)

    def launch(self, function, grid, block, shared_bytes, arguments):
        name, kernels = function
        self.launches[name] += 1
        self._seed += 1
        memories, seed = [a.memory if isinstance(a, Array) else a for a in arguments], self._seed
        launched = {"grid": grid, "block": block, "arguments": memories, "seed": seed, "shared_bytes": shared_bytes}
        self.current.do(lambda: kernels.launch(name, **launched))

    @contextlib.contextmanager
    def counted(self):
        """Count what happens in a ``with`` block; gives a dictionary that is filled at its end."""
        names = ("buffers", "temporaries", "calls", "syncs", "copies", "pinned")
        before, launches = {name: getattr(self, name) for name in names}, self.launches.copy()
        found = {}
        yield found
        found.update({name: getattr(self, name) - before[name] for name in names})
        found["launches"] = self.launches - launches


def write_down(kernel):
    """Append what is launched to the file in MPITRAIN_TEST_LAUNCHED, for pack.py."""
    path = os.environ.get("MPITRAIN_TEST_LAUNCHED")
    if path:
        file = os.path.relpath(kernel.file, cpu.ROOT) if os.path.isabs(kernel.file) else kernel.file
        with open(path, "a") as record:
            record.write(json.dumps([file, kernel.name, kernel.macros, kernel.least_arch, kernel.exact_arch]) + "\n")


def spoil(memory):
    """Fill with a value that no test expects."""
    if memory.dtype.kind == "f" or is_bf16(memory):
        memory.fill(np.nan)
    elif memory.dtype.kind in "iu":
        memory.fill(np.iinfo(memory.dtype).max)
