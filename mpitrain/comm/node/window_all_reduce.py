"""All-reduce in shared memory, for the ranks of one node: each reads and writes the others' memory.

Two-shot, for buffers in a shared window (``Group.shared_empty``): every rank sums its slice of all buffers, block by
block so that the sum stays in the cache, and writes it back to all of them. One-shot, for short buffers: every rank
copies its buffer into the window and sums all of them itself. A long buffer in other memory is copied into a window,
summed by two-shot, and copied back.

    rank 0   | slice 0 | slice 1 | slice 2 |      rank 1 reads slice 1 of all three
    rank 1   | slice 0 | slice 1 | slice 2 |      and writes the sum over them
    rank 2   | slice 0 | slice 1 | slice 2 |

Ranks wait for each other by flags in the window: each writes its own (the number of the current phase) and reads all.
The window is locked for all ranks for its whole lifetime, and MPI_Win_sync is called between data and flags, as the
standard requires of programs that load and store (MPI 4.1, 12.4 and 12.7).

Cost, n bytes: two-shot reads n and writes n per rank, in 2 phases; one-shot reads Pn, in 1.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from ... import cpu_kernels
from ...collectives import OPERATORS
from ...device import CPU, Device
from ..made import forget_window, note_window

ONE_SHOT_BYTES = 8 * 1024  # up to here
BLOCK_BYTES = 128 * 1024  # of a slice: the running sum and one block of one rank fit into the second cache
PAGE = 4096
FLAG_BYTES = 128  # between two ranks' flags: two cache lines, since processors fetch them in pairs
SPINS = 64  # polls before a waiting rank begins to yield its core
SHM = "/dev/shm"

C: Any = cpu_kernels.C
NO_SQUARES = np.empty(0)


class Window:
    """Memory of every rank that all ranks of the node can read and write.

    Parameters
    ----------
    comm : MPI.Comm
        Ranks of one node; all of them make the window together.
    num_bytes : int
        Length of each rank's part; initially zeros.

    Attributes
    ----------
    parts : list of (num_bytes,) uint8 arrays
        The memory of each rank.
    """

    def __init__(self, comm: Any, num_bytes: int):
        whole = max(PAGE, -(-num_bytes // PAGE) * PAGE)
        self._window = MPI.Win.Allocate_shared(whole, 1, comm=comm)
        self._window.Lock_all(MPI.MODE_NOCHECK)
        memories: list[Any] = [self._window.Shared_query(rank)[0] for rank in range(comm.size)]
        self.parts = [np.frombuffer(memory, np.uint8) for memory in memories]
        self.own = self.parts[comm.rank][:num_bytes]
        self.own.fill(0)  # allocates the pages now, near this rank
        self.sync()
        comm.Barrier()
        note_window(self)

    def sync(self) -> None:
        """Order this rank's loads and stores before it and after it (MPI_Win_sync)."""
        self._window.Sync()

    def fetch_and_increment(self) -> int:
        """Add 1 to the int64 at the start of rank 0's part, in one operation for all ranks; return what was there."""
        before = np.empty(1, np.int64)
        self._window.Fetch_and_op(np.ones(1, np.int64), before, 0, 0, MPI.SUM)
        self._window.Flush(0)
        return int(before[0])

    def find(self, array: np.ndarray) -> int | None:
        """Return where ``array`` starts in this rank's part, None if it is elsewhere."""
        begin = array.ctypes.data - self.own.ctypes.data
        return begin if begin >= 0 and begin + array.nbytes <= self.own.nbytes else None

    def free(self) -> None:
        """Free the memory (all ranks together; no array may use it any more)."""
        forget_window(self)
        self.parts.clear()
        self._window.Unlock_all()
        self._window.Free()


class SharedDevice(Device):
    """The CPU with arrays in shared windows: all ranks allocate the same arrays in the same order."""

    def __init__(self, group: Any):
        super().__init__()
        self._group = group

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return memory of ``shape`` that the other ranks of the node can read; ordinary memory if there is none."""
        made: np.ndarray = self._group.shared_empty(shape, dtype)
        return made


class WindowAllReduce:
    """An all-reduce in shared memory with the interface of a ``Plan``.

    Parameters
    ----------
    comm : MPI.Comm
        Ranks of one node.
    buffer : (n,) contiguous array
    place : (Window, int) or None
        Location of the buffers of all ranks: a window and the offset in every part of it.
    op : str
        sum, max or min.
    yield_cpu : bool
        Yield the core from the first poll on, where ranks outnumber cores.
    """

    algorithm = "shared"
    messages = bytes_sent = 0

    def __init__(
        self,
        comm: Any,
        buffer: np.ndarray,
        place: tuple[Window, int] | None,
        *,
        op: str = "sum",
        yield_cpu: bool = False,
    ):
        self.result = buffer
        self._spins = 0 if yield_cpu else SPINS
        self._rank, self._size, self._combine = comm.rank, comm.size, OPERATORS[op]
        self._flags_at = window_bytes(buffer.nbytes, place is not None) - FLAG_BYTES
        self._window = Window(comm, self._flags_at + FLAG_BYTES)
        flags: list[Any] = [part[self._flags_at :][:8].view(np.int64).data for part in self._window.parts]
        self._mine, self._others = flags[self._rank], [f for r, f in enumerate(flags) if r != self._rank]
        self._one_shot = place is None and buffer.nbytes <= ONE_SHOT_BYTES
        window, start = (self._window, 0) if place is None else place
        slots = 2 if self._one_shot else 1
        self._buffers = [
            [_view(part, start + slot * _round_up(buffer.nbytes), buffer) for part in window.parts]
            for slot in range(slots)
        ]
        self._copies = place is None
        self._slice = slice(buffer.size * self._rank // self._size, buffer.size * (self._rank + 1) // self._size)
        self._phase = 0
        self._until = 0  # the phase that ends what is in flight
        self._sources = [] if not C or op != "sum" or buffer.dtype != np.float32 else self._addresses()
        self._target = np.array([buffer.ctypes.data], np.int64)
        self._scratch = np.empty(min(buffer.size, BLOCK_BYTES // buffer.itemsize), buffer.dtype)

    def start(self) -> None:
        """Publish this rank's buffer to the others."""
        if self._phase < self._until:
            raise RuntimeError("a plan was started while it is still in flight")
        if self._size == 1 or not self.result.size:
            return
        self._until = self._phase + (1 if self._one_shot else 2)
        if self._copies:
            np.copyto(self._slot()[self._rank], self.result)
        self._arrive()

    def poll(self) -> bool:
        """Progress without waiting; True when the sum is complete."""
        while self._phase < self._until:
            for flag in self._others:
                if flag[0] <= self._phase:
                    return False
            self._window.sync()
            if self._one_shot:
                self._sum(slice(0, self.result.size), [self.result])
                self._phase += 1
            elif self._until - self._phase == 2:
                self._sum(self._slice, self._slot())
                self._phase += 1
                self._arrive()
            else:
                if self._copies:
                    np.copyto(self.result, self._slot()[self._rank])
                self._phase += 1
        return True

    def wait(self) -> None:
        """Wait until the sum is complete."""
        spins = self._spins
        while not self.poll():
            if spins:
                spins -= 1
            else:
                os.sched_yield()

    def free(self) -> None:
        """Free the window (all ranks together)."""
        self._buffers.clear()
        self._others.clear()
        del self._mine
        self._window.free()

    def _slot(self) -> list[np.ndarray]:
        """Return the buffers of this run: one-shot alternates between two, so that one phase is enough."""
        return self._buffers[self._phase % len(self._buffers)]

    def _arrive(self) -> None:
        self._window.sync()
        self._mine[0] = self._phase + 1

    def _addresses(self) -> list[np.ndarray]:
        """Return the addresses of this rank's part in every buffer of each slot, for the kernel in C."""
        start = 0 if self._one_shot else self._slice.start
        return [np.array([b[start:].ctypes.data for b in slot], np.int64) for slot in self._buffers]

    def _sum(self, part: slice, targets: Sequence[np.ndarray]) -> None:
        """Write the sum of all ranks' ``part`` into every target, in the order of the ranks, block by block."""
        if self._sources:
            at = self._sources[self._phase % len(self._buffers)]
            C.sum_sources(at, self._target if self._one_shot else at, part.stop - part.start, NO_SQUARES)
            return
        sources, step = self._slot(), self._scratch.size
        for start in range(part.start, part.stop, step):
            block = slice(start, min(start + step, part.stop))
            total = self._scratch[: block.stop - block.start]
            self._combine(sources[0][block], sources[1][block], out=total)
            for source in sources[2:]:
                self._combine(total, source[block], out=total)
            for target in targets:
                target[block] = total


def window_bytes(num_bytes: int, in_window: bool) -> int:
    """Return the bytes of each rank's part of a plan's own window."""
    if in_window:
        return FLAG_BYTES
    slots = 2 if num_bytes <= ONE_SHOT_BYTES else 1
    return slots * _round_up(num_bytes) + FLAG_BYTES


def why_not(node_size: int, size: int, num_bytes: int, path: str = SHM, *, asking: int = 0) -> str | None:
    """Return why ``num_bytes`` for each of a node's ranks cannot be shared, None if they can.

    Parameters
    ----------
    node_size, size : int
        Ranks of a group on this node, and in all.
    num_bytes : int
    path : str
        Where shared memory is.
    asking : int
        Ranks of the job on this node: those of other groups may ask for as much at the same time.

    Notes
    -----
    MPI accepts a window that is larger than its file system, and the first store into a page that cannot be allocated
    ends the process. So the free space is checked first.
    """
    if node_size < size:
        return f"the {size} ranks are on several nodes"
    if not os.path.isdir(path):
        return None
    free = os.statvfs(path)
    room, wanted = free.f_bavail * free.f_frsize, max(size, asking) * (num_bytes + PAGE)
    if wanted > room:
        return f"{path} has room for {room >> 20} MiB, but {-(-wanted >> 20)} MiB are needed"
    return None


def ordinary(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return private memory."""
    made: np.ndarray = CPU.empty(shape, dtype)
    return made


def _round_up(num_bytes: int) -> int:
    return -(-num_bytes // FLAG_BYTES) * FLAG_BYTES


def _view(part: np.ndarray, start: int, like: np.ndarray) -> np.ndarray:
    view: np.ndarray = part[start : start + like.nbytes].view(like.dtype)
    return view
