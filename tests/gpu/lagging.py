"""Devices that stand for a GPU (device.py) and differ in what is late: rules leave open when work is done.

Where ops lag, too, work of the compute stream that still reads an array is there when another stream, or MPI, writes to
it too early. Where copies are later than all else, it is the other way round.
"""

import numpy as np

from tests.gpu.arrays import Array
from tests.gpu.device import CopyStream, ShimDevice, spoil
from tests.late import LateStream

PATIENCE = 300  # queries of an event before its work is done


class LaggingStream(LateStream):
    """A queue of ops and copies; a copy leaves its target as it is until its turn comes."""

    def copy(self, target, source):
        into, out_of = (x.memory if isinstance(x, Array) else x for x in (target, source))
        assert into.shape == out_of.shape
        assert into.dtype == out_of.dtype
        self.do(lambda: np.copyto(into, out_of))


class HastyStream(LaggingStream):
    """A queue whose copies to the device are done at once, after what they wait for; all else is later than late."""

    patience = PATIENCE

    def copy(self, target, source):
        super().copy(target, source)
        if isinstance(source, np.ndarray):
            self.run_until(self.first + len(self.queue))


class LaggingDevice(ShimDevice):
    """Stands for one GPU that does everything as late as the rules allow, or what it receives as early.

    Parameters
    ----------
    copies : type
        Of the streams of copies: ``LaggingStream``, or ``HastyStream`` for early copies to the device.
    """

    def __init__(self, copies=LaggingStream):
        super().__init__()
        self.copies_by = copies
        self.current = self.compute = LaggingStream(self)

    def stream(self):
        return self.copies_by(self)

    def made(self, make):
        memory = np.array(make())
        spoil(memory)
        self.do(lambda: np.copyto(memory, make()))
        return Array(memory, self)

    def from_host(self, array):
        found = super().from_host(array)
        self._kept.append(found.memory)  # work that has its address is still to be done when the array is gone
        return found

    def to_host(self, array):
        self.synchronize()
        return super().to_host(array)


class LazyCopies(CopyStream):
    """A queue of copies that are later than late."""

    patience = PATIENCE


class AheadDevice(ShimDevice):
    """Stands for one GPU that computes at once, while its copies are done when they are needed."""

    def stream(self):
        return LazyCopies(self)
