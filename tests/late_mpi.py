"""Messages of MPI that move as late as its rules allow: a stand-in for ``Channel.comm``."""

import numpy as np
from mpi4py import MPI

from tests.gpu.arrays import Array

PATIENCE = 300  # queries


class LateComm:
    """Communicator whose requests are not complete the first times that they are queried, but after a wait.

    An array is received into when its request is found complete. One that is sent may be read until then, so changes
    before that are written down.

    Attributes
    ----------
    changed : list of (peer, tag)
        Of the messages that were changed while they were sent.
    """

    def __init__(self, comm):
        self._comm, self.changed = comm, []

    def __getattr__(self, name):
        return getattr(self._comm, name)

    def Isend(self, spec, peer, tag):
        raw = bytes_of(spec[0])
        before = raw.copy()

        def complete():
            if not np.array_equal(raw, before):
                self.changed.append((peer, tag))

        return LateRequest(self._comm.Isend([before, MPI.BYTE], peer, tag), complete)

    def Irecv(self, spec, peer, tag):
        raw = bytes_of(spec[0])
        arrives = np.empty_like(raw)
        return LateRequest(self._comm.Irecv([arrives, MPI.BYTE], peer, tag), lambda: np.copyto(raw, arrives))


class LateRequest:
    """A request that calls ``complete`` when it is found to be."""

    def __init__(self, request, complete):
        self._request, self._complete, self._asked = request, complete, 0

    def Test(self, status=None):
        self._asked += 1
        if self._asked <= PATIENCE or not self._request.Test(status):
            return False
        self._complete()
        return True

    def Wait(self, status=None):
        self._request.Wait(status)
        self._complete()


def bytes_of(array):
    """Return the bytes of an array that MPI reads or writes, as a view."""
    raw = array.memory if isinstance(array, Array) else array
    assert raw.flags.c_contiguous
    return raw.reshape(-1).view(np.uint8)
