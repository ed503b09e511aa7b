"""Event files of TensorBoard, written in batches of whole records: a full disk leaves no half of one.

A record is its length (8 bytes), the checksum of the length, an ``Event`` and its checksum (CRC-32C, masked). A writer
of tensorboardX does this in a thread of its own, which ends without a word where the disk is full; so the events and
checksums are tensorboardX's, and the file is written here.
"""

import os
import socket
import struct
import time
from collections import deque
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import UserError

MOST_RECORDS = 200_000
"""Records that wait at most while they cannot be written; the oldest are dropped."""

_numbers = count()


class EventFile:
    """One event file of a TensorBoard run, which is made at the first ``flush``.

    Parameters
    ----------
    directory : Path
        All event files in it are one run of TensorBoard.
    first_step : int
        What earlier event files hold from this step on is void.
    """

    def __init__(self, directory: Path, first_step: int):
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import masked_crc32c

        self._directory, self._checksum = directory, masked_crc32c
        self._begin = [
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=first_step, session_log=SessionLog(status=SessionLog.START)),
        ]
        self._records: deque[bytes] = deque(maxlen=MOST_RECORDS)
        self._file, self._path, self._size = -1, Path(), 0
        self._open_later()

    def add(self, event: Any) -> None:
        """Add an ``Event``, to be written by the next ``flush``."""
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._records.append(length + self._crc(length) + data + self._crc(data))

    def flush(self) -> None:
        """Write all records.

        Raises
        ------
        UserError
            If they cannot be written: they are kept for the next attempt. Or if the file was removed: then they
            are in a new one.
        """
        removed = self._file >= 0 and os.fstat(self._file).st_nlink == 0
        if removed:
            self.close()
            self._open_later()
        try:
            self._write()
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from error
        if removed:
            raise UserError(f"event files in {self._directory} were removed: what follows is in a new one")

    def close(self) -> None:
        """Close the file; what was not written is lost."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open_later(self) -> None:
        """Choose the name of a new file, whose first records precede those that wait."""
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._path, self._size = self._directory / name, 0
        waiting = list(self._records)
        self._records.clear()
        for event in self._begin:
            self.add(event)
        self._records.extend(waiting)

    def _write(self) -> None:
        if self._file < 0:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        data = memoryview(b"".join(self._records))
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            os.ftruncate(self._file, self._size)  # readers take a half of a record for a damaged file
            raise
        self._size += len(data)
        self._records.clear()

    def _crc(self, data: bytes) -> bytes:
        return struct.pack("<I", self._checksum(data))
