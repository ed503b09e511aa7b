"""Exclusive ownership of run directories: refuse a second run that would write there.

    RUN/owner-1.json    its owner; touched every few seconds, removed at the end

The file appears with its content by ``link``, which does nothing where the name is taken, over NFS too. A run that was
killed leaves its file behind. Another that finds this takes the next number, again by ``link``: of several that find it
at once one succeeds, and none has to remove a file that may have become another's meanwhile. The highest number is the
owner. Ages are differences of times that the file system itself gives, whatever the clocks of the hosts say.
"""

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from .owner import Owner, current_owner, read_owner, write_owner

HEARTBEAT_SECONDS = 5.0  # seconds between two signs of life
STALE_SECONDS = 300.0  # seconds without one after which a run on a host that cannot be asked is over
WATCH_SECONDS = 13.0  # seconds to look for one where the run may well be over
PAUSE = 0.05  # seconds between two attempts; a directory that NFS has cached may show what is no longer so
_NAME = re.compile(r"owner-(\d+)\.json")
_TEMPORARY = re.compile(r"\.owner-[0-9a-f]+\.tmp")


class TakenOverError(UserError):
    """Another run has taken the directory over: nothing more may be written there."""


class Ownership:
    """The right of one run to write into a directory.

    Every rank makes one when the run begins, with the same ``run``; the rank that writes calls ``take``.

    Parameters
    ----------
    run : str
        Random name of the run.
    """

    def __init__(self, run: str):
        self._me = current_owner(run)
        self._path: Path | None = None
        self._over = threading.Event()
        self._thread = threading.Thread()
        self._lost = ""

    def take(self, directory: Path) -> None:
        """Own ``directory`` from now on; it is made if it does not exist.

        Raises
        ------
        UserError
            If a live run owns it (the message says which), or if it cannot be written.
        """
        if self._path is not None:
            return
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._path = _claim(directory, self._me)
        except OSError as error:
            raise UserError(f"cannot write into the run directory {directory}: {error.strerror}") from None
        self._over.clear()
        self._thread = threading.Thread(target=self._keep_alive, args=(directory,), name="mpitrain-owner", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise TakenOverError if another run has taken the directory over."""
        if self._lost:
            raise TakenOverError(self._lost)

    def release(self) -> None:
        """Release the directory for other runs."""
        path, self._path = self._path, None
        if path is None:
            return
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            newest = _newest(path.parent)
            if newest is not None and _read(newest)[0] == self._me:
                _remove_up_to(path.parent, _number(newest))

    def __enter__(self) -> "Ownership":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _keep_alive(self, directory: Path) -> None:
        """Touch the owner's file while the run lives, and check that the directory is still its own."""
        while not self._over.wait(HEARTBEAT_SECONDS) and not self._lost:
            with contextlib.suppress(OSError):
                self._heartbeat(directory)

    def _heartbeat(self, directory: Path) -> None:
        newest = _newest(directory)
        if newest is None:  # removed by hand
            try:
                _claim(directory, self._me)
            except UserError as error:
                self._lost = str(error)
            return
        owner = _read(newest)[0]
        if owner is not None and owner != self._me:
            self._lost = f"{directory} was taken over by {owner}, which had seen no sign of life from this run"
        os.utime(newest)  # to the time of the file system


def refuse_if_owned(directory: Path) -> None:
    """Raise a UserError if a live run owns ``directory``; nothing is written."""
    with contextlib.suppress(OSError):
        newest = _newest(directory)
        if newest is not None:
            _refuse_if_alive(newest, current_owner(""), time.time)


def find_owner(directory: Path) -> tuple[Owner | None, float] | None:
    """Return the owner of ``directory`` and the seconds since its last sign of life; None if it has no owner.

    The owner is None where its file does not say who it is. The seconds are by the clock of this host.
    """
    with contextlib.suppress(OSError):
        newest = _newest(directory)
        if newest is not None:
            owner, touched = _read(newest)
            return owner, max(0.0, time.time() - touched)
    return None


def _claim(directory: Path, me: Owner) -> Path:
    """Return the file that makes ``me`` the owner of ``directory``."""
    own = directory / f".owner-{secrets.token_hex(8)}.tmp"

    def now() -> float:
        os.utime(own)
        return os.stat(own).st_mtime

    try:
        with open(own, "xb") as file:
            file.write(write_owner(me))
            file.flush()
            os.fsync(file.fileno())
        while True:
            newest = _newest(directory)
            if newest is not None:
                with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                    _refuse_if_alive(newest, me, now)
            path = directory / f"owner-{1 if newest is None else _number(newest) + 1}.json"
            if _link(own, path):
                if _newest(directory) == path:
                    _remove_up_to(directory, _number(path) - 2)  # others may have judged the last one just now
                    return path
                path.unlink(missing_ok=True)
            time.sleep(PAUSE)
    finally:
        own.unlink(missing_ok=True)


def _link(own: Path, path: Path) -> bool:
    """Give ``own`` the name ``path`` as well; return False if another file has it."""
    try:
        os.link(own, path)
    except FileExistsError:
        return os.stat(own).st_nlink == 2  # a server's answer was lost, and the call was sent again
    except OSError:  # a file system without hard links
        with contextlib.suppress(FileExistsError), open(path, "xb") as file:
            file.write(own.read_bytes())
            return True
        return False
    return True


def _refuse_if_alive(path: Path, me: Owner, now: Callable[[], float]) -> None:
    """Raise a UserError if the run that ``path`` names still lives, as far as ``me`` can know."""
    owner, touched = _read(path)
    age = now() - touched
    if owner is not None and owner.is_superseded_by(me):
        return
    advice = "wait for it or stop it, or choose another --out"
    if owner is not None and owner.is_visible_from(me):
        if owner.lives():
            raise UserError(f"{path.parent} is in use by {owner}: {advice}")
        return
    if age > STALE_SECONDS or (owner is not None and owner.may_be_over(me) and not _gives_sign(path, touched)):
        return
    who, minutes = owner or "a run that has not said who it is", STALE_SECONDS / 60
    raise UserError(
        f"{path.parent} is in use by {who}, which gave a sign of life {max(age, 0):.0f} s ago: {advice}; if it was "
        f"killed, the directory is free {minutes:.0f} minutes after the last sign, or when {path.name} is removed"
    )


def _gives_sign(path: Path, touched: float) -> bool:
    """Return True as soon as the owner touches its file again, False after a time-out."""
    until = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(min(1.0, WATCH_SECONDS / 10))
        if _read(path)[1] != touched:
            return True
    return False


def _read(path: Path) -> tuple[Owner | None, float]:
    """Return the owner named in a file, and the time of its last touch."""
    with open(path, "rb") as file:  # opening a file makes NFS ask for its time
        return read_owner(file.read()), os.fstat(file.fileno()).st_mtime


def _newest(directory: Path) -> Path | None:
    paths = [path for path in directory.iterdir() if _NAME.fullmatch(path.name)]
    return max(paths, key=_number, default=None)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _remove_up_to(directory: Path, number: int) -> None:
    """Remove the owner files up to ``number``, the last one last, and leftover temporary files."""
    with contextlib.suppress(OSError):
        paths = [path for path in directory.iterdir() if _NAME.fullmatch(path.name) and _number(path) <= number]
        for path in sorted(paths, key=_number):
            path.unlink(missing_ok=True)
        for path in directory.iterdir():
            if _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink(missing_ok=True)
