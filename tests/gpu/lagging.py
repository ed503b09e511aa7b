"""A device that stands for a GPU (device.py) whose ops lag, too: all work waits in queues until an event is asked for.

So work of the compute stream that still reads an array is there when another stream, or MPI, writes to it too early.
"""

import numpy as np

from tests.gpu.arrays import Array
from tests.gpu.device import ShimDevice, spoil
from tests.late import LateStream


class LaggingStream(LateStream):
    """A queue of ops and copies; a copy leaves its target as it is until its turn comes."""

    def copy(self, target, source):
        into, out_of = (x.memory if isinstance(x, Array) else x for x in (target, source))
        assert into.shape == out_of.shape
        assert into.dtype == out_of.dtype
        self.do(lambda: np.copyto(into, out_of))


class HastyStream(LaggingStream):
    """A queue of copies that are done at once, as soon as what they wait for is done."""

    def copy(self, target, source):
        super().copy(target, source)
        self.run_until(self.first + len(self.queue))


class LaggingDevice(ShimDevice):
    """Stands for one GPU that does everything as late as the rules allow, or its copies as early.

    Parameters
    ----------
    copies : type
        Of the streams of copies: ``LaggingStream`` or ``HastyStream``.
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

    def to_host(self, array):
        self.synchronize()
        return super().to_host(array)
