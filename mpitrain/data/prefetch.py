"""An iterator that a background thread keeps ahead of its consumer."""

import threading
import weakref
from collections.abc import Iterator
from queue import Empty, Queue
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """Last entry of the queue, with the reason for the end."""

    def __init__(self, error: BaseException | None):
        self.error = error


class Prefetcher(Generic[T]):
    """Iterate over ``items`` in a thread, up to ``depth`` finished items ahead.

    At any moment the consumer holds one item, the queue up to ``depth`` and the thread one that it works on:
    a ring of ``depth + 2`` buffers never overwrites what is still in use.

    The thread ends with the items, with ``close()``, when this object is dropped, or at interpreter exit,
    whichever is first; as a daemon it never keeps the process alive.

    Parameters
    ----------
    items : iterator
        Advanced only in the thread. What it raises is raised to the consumer, in its place.
    depth : int
        At least 1.
    """

    def __init__(self, items: Iterator[T], depth: int):
        self._queue: Queue[T | _End] = Queue(depth)
        stop = threading.Event()
        thread = threading.Thread(target=_fill, args=(items, self._queue, stop), name="mpitrain-input", daemon=True)
        self._stop = weakref.finalize(self, _end_thread, self._queue, stop, thread)
        thread.start()

    def __iter__(self) -> "Prefetcher[T]":
        return self

    def __next__(self) -> T:
        if not self._stop.alive:
            raise StopIteration
        item = self._queue.get()
        if not isinstance(item, _End):
            return item
        self.close()
        if item.error is not None:
            raise item.error
        raise StopIteration

    def close(self) -> None:
        """End the thread and wait until it is gone. Calling again does nothing."""
        self._stop()


def _fill(items: Iterator[T], queue: Queue[T | _End], stop: threading.Event) -> None:
    try:
        for item in items:
            queue.put(item)
            if stop.is_set():
                return
    except BaseException as error:
        queue.put(_End(error))
    else:
        queue.put(_End(None))


def _end_thread(queue: Queue[T | _End], stop: threading.Event, thread: threading.Thread) -> None:
    stop.set()
    try:  # room for the one item that the thread may still put before it looks at stop
        while True:
            queue.get_nowait()
    except Empty:
        pass
    if thread is not threading.current_thread():  # a garbage collection may run in the thread itself
        thread.join()
