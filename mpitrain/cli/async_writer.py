"""A writer thread for output: slow readers, full disks and closed pipes never stop training."""

import collections
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from .outlet import Outlet, State

SOFT = 256 << 10  # bytes that wait for a slow reader before expendable lines are left out
HARD = 4 << 20  # bytes before other lines are
LOOK_SECONDS = 0.1  # between two looks at an output that takes nothing
RETRY_SECONDS = 5.0  # between two attempts to write to a full disk, at most
LAUNCHER_SECONDS = 0.03  # after a write, until the launcher has passed it on and its output can be looked at again
AT_ONCE_SECONDS = 0.2  # that writing may take where nothing is in the way
GIVE_UP_SECONDS = 1.0  # that a disk which was full is tried at the end
WORD_SECONDS = 2.0  # of waiting at the end before a message says so


class Item(NamedTuple):
    """Text of one print call."""

    data: bytes
    expendable: bool

    @property
    def lines(self) -> int:
        """Complete lines in it."""
        return self.data.count(b"\n")


class AsyncWriter(threading.Thread):
    """Thread that writes to one outlet all data passed to ``put``.

    Parameters
    ----------
    outlet : Outlet
    tell : callable(str)
        Called with a short description of the first problem.

    Attributes
    ----------
    error : str
        The first problem; empty if there is none.
    left_out, lost : int
        Expendable lines that were left out for a slow reader, and lines that could not be written.
    """

    def __init__(self, outlet: Outlet, tell: Callable[[str], None]):
        super().__init__(name="mpitrain-output", daemon=True)
        self._outlet, self._tell = outlet, tell
        self._items: collections.deque[Item] = collections.deque()
        self._changed = threading.Condition()
        self._size = self._written = self._gap = self._unwritten = 0
        self._busy = self._dead = False
        self._in_new_line = True
        self._failed_at = 0.0
        self.error, self.left_out, self.lost = "", 0, 0

    def put(self, data: bytes, expendable: bool) -> None:
        """Write ``data`` soon; return at once."""
        item = Item(data, expendable)
        with self._changed:
            if self._dead:
                self.lost += item.lines
                return
            self._items.append(item)
            self._size += len(data)
            while self._size > SOFT and self._leave_one_out():
                pass
            while self._size > HARD:
                self.lost += self._remove(0).lines
            self._changed.notify_all()

    def drain(self, patience: float, say_waiting: Callable[[], None]) -> None:
        """Wait until all is written, writing is impossible, or nothing was written for ``patience`` seconds.

        Parameters
        ----------
        say_waiting : callable()
            Called once if this takes long.
        """
        with self._changed:
            self.lost -= self._unwritten  # lines that an earlier call gave up, which may have been written since
            if not self._changed.wait_for(self._is_idle, AT_ONCE_SECONDS):
                self._outlet.enlarge(self._size)
            written, since, said = self._written, time.monotonic(), False
            while not self._is_idle():
                self._changed.wait(LOOK_SECONDS)
                if self._written != written:
                    written, since = self._written, time.monotonic()
                waited = time.monotonic() - since
                if waited > (GIVE_UP_SECONDS if self._failed_at else patience):
                    break
                if waited > WORD_SECONDS and not said:
                    said = True
                    say_waiting()
            self._unwritten = sum(item.lines for item in self._items)
            self.lost += self._unwritten

    def run(self) -> None:
        """Write until the process ends or the output fails for good."""
        while not self._dead:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._dead)
            try:
                state = self._outlet.state()
            except OSError as error:
                time.sleep(self._fail(error.strerror or str(error)))
                continue
            if state is State.READY:
                self._write(self._take())
            elif state is State.GONE:
                self._die("its reader has closed it")
            else:
                time.sleep(LOOK_SECONDS)

    def _is_idle(self) -> bool:
        return not self._items and not self._busy

    def _take(self) -> bytes:
        """Take as much as one write accepts; if lines were left out before it, it begins with their number."""
        with self._changed:
            finish_line = self._gap > 0 and not self._in_new_line
            if self._gap and not finish_line:
                text = f"[{self._gap:,} lines were left out here: the reader was too slow]\n"
                self._push_back(text.encode())
                self._gap = 0
            data = self._remove(0).data if self._items else b""
            while self._items and len(data) < self._outlet.chunk and not finish_line:
                data += self._remove(0).data
            self._push_back(data[self._outlet.chunk :])
            self._busy = True
            return data[: self._outlet.chunk]

    def _write(self, data: bytes) -> None:
        count, pause = 0, LAUNCHER_SECONDS if self._outlet.launcher else 0.0
        try:
            count = os.write(self._outlet.descriptor, data)
            self._failed_at = 0.0
        except BlockingIOError:
            pause = LOOK_SECONDS
        except OSError as error:
            reason = error.strerror or str(error)
            if self._outlet.is_dead(error):
                self._die(reason)
            else:
                pause = self._fail(reason)
        with self._changed:
            self._push_back(data[count:])
            self._written += count
            if count:
                self._in_new_line = data[:count].endswith(b"\n")
            self._busy = False
            self._changed.notify_all()
        time.sleep(pause)

    def _fail(self, reason: str) -> float:
        """Record a failed write that may succeed later; return the seconds to wait before the next attempt."""
        now = time.monotonic()
        self._failed_at = self._failed_at or now
        self._note(reason)
        return min(RETRY_SECONDS, max(LOOK_SECONDS, now - self._failed_at))

    def _die(self, reason: str) -> None:
        with self._changed:
            self._dead = True
            self.lost += sum(item.lines for item in self._items)
            self._items.clear()
            self._size = 0
            self._changed.notify_all()
        self._note(reason)

    def _note(self, reason: str) -> None:
        if not self.error:
            self.error = reason
            self._tell(reason)

    def _push_back(self, data: bytes) -> None:
        """Put ``data`` back at the front of the queue; it is lost if nothing can be written anymore."""
        if data and self._dead:
            self.lost += data.count(b"\n")
        elif data:
            self._items.appendleft(Item(data, False))
            self._size += len(data)

    def _leave_one_out(self) -> bool:
        """Leave out the oldest expendable lines; return False if there are none."""
        at = next((place for place, item in enumerate(self._items) if item.expendable), None)
        if at is None:
            return False
        lines = self._remove(at).lines
        self.left_out += lines
        self._gap += lines
        return True

    def _remove(self, place: int) -> Item:
        item = self._items[place]
        del self._items[place]
        self._size -= len(item.data)
        return item
