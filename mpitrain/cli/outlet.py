"""State of the far end of an output, found without writing to it.

Under mpirun what a rank writes goes through mpirun, whose own output decides. MPICH's ends the whole job when it writes
to a pipe without a reader, and does nothing else while a reader is slow. So a rank on the same host looks at
the output of mpirun, and holds back what would have to wait there.
"""

import contextlib
import enum
import errno
import fcntl
import os
import select
import stat
import struct
import termios
from collections.abc import Iterator

PIPE_SIZE_SET = getattr(fcntl, "F_SETPIPE_SZ", 0)
PIPE_SIZE_GET = getattr(fcntl, "F_GETPIPE_SZ", 0)
CHUNK = 4096  # bytes that a pipe which is ready takes without waiting
LARGE_CHUNK = 65536  # to a file
MEMORY_DEVICES = 1  # major number of /dev/null and /dev/full
DEAD = (errno.EPIPE, errno.EBADF, errno.ENXIO)


class State(enum.Enum):
    """State of an output."""

    READY = "ready"
    FULL = "full"
    GONE = "gone"


class Outlet:
    """A file descriptor, and that of the launcher behind it.

    Parameters
    ----------
    descriptor : int
    launcher : str
        Path of the launcher's descriptor below /proc; empty without a launcher.

    Attributes
    ----------
    chunk : int
        Bytes to write at a time.
    """

    def __init__(self, descriptor: int, launcher: str = ""):
        self.descriptor, self.launcher = descriptor, launcher
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            mode = 0
        self._is_pipe, self._is_terminal = stat.S_ISFIFO(mode), os.isatty(descriptor)
        self.chunk = LARGE_CHUNK if stat.S_ISREG(mode) else CHUNK

    def state(self) -> State:
        """Return whether the output would accept the next chunk.

        Raises
        ------
        OSError
            If the disk that the launcher writes to is full.
        """
        state = _poll(self.descriptor)
        return _state_behind(self.launcher, self.chunk) if state is State.READY and self.launcher else state

    def is_dead(self, error: OSError) -> bool:
        """Return True if nothing can ever be written again after ``error``."""
        return error.errno in DEAD or (error.errno == errno.EIO and self._is_terminal)

    def enlarge(self, num_bytes: int) -> None:
        """Enlarge the pipes on the way by ``num_bytes``, as far as the system allows."""
        if self._is_pipe:
            _enlarge(self.descriptor, num_bytes)
        with contextlib.suppress(OSError):
            if self.launcher and stat.S_ISFIFO(os.stat(self.launcher).st_mode):
                with _opened(self.launcher) as descriptor:
                    _enlarge(descriptor, num_bytes)


def _state_behind(path: str, num_bytes: int) -> State:
    """Return the state of another process's output at ``path``; raise OSError if its disk is too full."""
    try:
        if not os.lstat(path).st_mode & stat.S_IWUSR:
            return State.GONE  # opened for reading
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            _check_room(path, num_bytes)
        elif stat.S_ISFIFO(found.st_mode):
            with _opened(path) as descriptor:
                # half a pipe is left to what is on its way
                return State.FULL if 2 * _unread(descriptor) > _capacity(descriptor) else _poll(descriptor)
        elif stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) == MEMORY_DEVICES:
            with _opened(path) as descriptor:
                os.write(descriptor, b"")  # /dev/full refuses even this
        elif stat.S_ISCHR(found.st_mode) and os.path.realpath(path).startswith(("/dev/pts/", "/dev/tty")):
            with _opened(path) as descriptor:
                return _poll(descriptor)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EIO, errno.ENOENT):  # a pipe without a reader; a closed terminal; closed
            return State.GONE
        if error.errno == errno.ENOSPC:
            raise
    return State.READY  # as far as it can be seen from here


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check_room(path: str, num_bytes: int) -> None:
    room = os.statvfs(path)
    blocks = room.f_bfree if os.geteuid() == 0 else room.f_bavail
    if blocks * room.f_frsize < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _poll(descriptor: int) -> State:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    events = sum(event for _, event in poll.poll(0))
    if events & (select.POLLERR | select.POLLNVAL | select.POLLHUP):
        return State.GONE
    return State.READY if events & select.POLLOUT else State.FULL


def _unread(descriptor: int) -> int:
    """Return the number of unread bytes in a pipe."""
    answer: bytes = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def _capacity(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, PIPE_SIZE_GET) if PIPE_SIZE_GET else 65536


def _enlarge(descriptor: int, num_bytes: int) -> None:
    with contextlib.suppress(OSError):  # more than the system allows
        if PIPE_SIZE_SET:
            size = 2 * (_capacity(descriptor) + num_bytes)
            fcntl.fcntl(descriptor, PIPE_SIZE_SET, min(size, 1 << 20))
