"""Thread that progresses requests while the rank computes.

MPI progresses messages only inside its calls, and a schedule advances to its next round only when it is polled. The
trainer polls between layers; with this thread, requests progress all the time. If the rank has a spare core, the thread
waits inside MPI, one request after the other, with the interpreter lock released. Otherwise it polls from time to time
and sleeps in between, since its time is taken from the computation.

The rank and the thread call MPI at the same time, so MPI_THREAD_MULTIPLE is required.
"""

import queue
import threading
import time
from collections.abc import Callable

from mpi4py import MPI

from .plan import Request

PAUSE = 2e-5  # seconds between polls; the operating system makes it about 0.1 ms


def why_no_thread() -> str | None:
    """Return why MPI cannot be called from a second thread, None if it can."""
    level = MPI.Query_thread()
    if level == MPI.THREAD_MULTIPLE:
        return None
    names = {MPI.THREAD_SINGLE: "SINGLE", MPI.THREAD_FUNNELED: "FUNNELED", MPI.THREAD_SERIALIZED: "SERIALIZED"}
    return f"the MPI library was started with MPI_THREAD_{names[level]}, but MPI_THREAD_MULTIPLE is needed"


class Driver:
    """Hands requests to a progress thread, if one is wanted and possible.

    Parameters
    ----------
    spare_core : bool
        The rank has a core that it does not compute on.
    """

    def __init__(self, *, spare_core: bool) -> None:
        self._spare_core = spare_core
        self._thread: ProgressThread | None = None
        self._wanted = False

    def use_thread(self, wanted: bool) -> str:
        """Switch the thread on or off for later requests; return why that is impossible, or \"\"."""
        why_not = why_no_thread() if wanted else None
        self._wanted = wanted and not why_not
        if self._wanted and self._thread is None:
            self._thread = ProgressThread(spare_core=self._spare_core)
        return f"no thread for messages: {why_not}" if why_not else ""

    def drive(self, request: Request) -> Request:
        """Return ``request``, driven by the thread if there is one."""
        return self._thread.drive(request) if self._thread is not None and self._wanted else request


class ProgressThread:
    """Progresses started requests; sleeps while there are none.

    Parameters
    ----------
    spare_core : bool
        It has a core to itself and can wait inside MPI; otherwise it polls and sleeps.
    """

    def __init__(self, *, spare_core: bool) -> None:
        self._started: queue.SimpleQueue[DrivenRequest] = queue.SimpleQueue()
        target = self._wait_in_turn if spare_core else self._poll
        threading.Thread(target=target, name="mpitrain-progress", daemon=True).start()

    def drive(self, request: Request) -> "DrivenRequest":
        """Return ``request`` as one that the thread progresses once it is started."""
        return DrivenRequest(request, self._started)

    def _wait_in_turn(self) -> None:
        while True:
            self._started.get().end()

    def _poll(self) -> None:
        in_flight: list[DrivenRequest] = []
        while True:
            while not in_flight or not self._started.empty():
                in_flight.append(self._started.get())
            in_flight = [request for request in in_flight if not request.move()]
            time.sleep(PAUSE)


class DrivenRequest:
    """A request that belongs to the thread from ``start`` until it is done."""

    def __init__(self, request: Request, started: "queue.SimpleQueue[DrivenRequest]"):
        self._request, self._started = request, started
        self.algorithm = request.algorithm
        self.messages, self.bytes_sent, self.result = request.messages, request.bytes_sent, request.result
        self.tag: int | None = getattr(request, "tag", None)
        self._done = threading.Event()
        self._done.set()
        self._error: BaseException | None = None

    def start(self) -> None:
        """Start it and hand it to the thread."""
        if not self._done.is_set():
            raise RuntimeError("a plan was started while it is still in flight")
        self._done.clear()
        self._request.start()
        self._started.put(self)

    def poll(self) -> bool:
        """Return whether it is done."""
        if self._error is not None:
            raise self._error
        return self._done.is_set()

    def wait(self) -> None:
        """Wait until it is done."""
        self._done.wait()
        self.poll()

    def free(self) -> None:
        """Give back what it holds."""
        self._request.free()

    def move(self) -> bool:
        """Poll once, in the thread; True when it is done. Errors are raised again in the rank."""
        return self._guard(self._request.poll)

    def end(self) -> None:
        """Wait until it is done, in the thread."""
        self._guard(self._request.wait)

    def _guard(self, call: Callable[[], bool | None]) -> bool:
        """Call; the request is done unless the call returns False."""
        try:
            done = call() is not False
        except BaseException as error:  # raised again in poll and wait
            self._error, done = error, True
        if done:
            self._done.set()
        return done
