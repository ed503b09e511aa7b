"""Decoded files of one form in one file of the cache, which is mapped: any number of processes share its memory.

The file is written in units, each a range of samples. A unit leaves a small file, its mark, when its values are
written; when all are on the disk, an index takes the place of the marks. Ranks share the units (``training.prepare``),
a process that was killed goes on where it was, and several processes that decode the same files write the same bytes
to the same places. Nothing waits for the disk: until then a mark counts as long as its machine runs, since after a
crash of it values may be lost that were written before.

Shapes: N files; H, W, C the dims of a sample.
"""

import contextlib
import json
import os
import random
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...device import CPU
from ...errors import UserError
from ...json_text import to_json
from .form import Facts, Form, Undecodable

LEAST, MOST = 4 << 20, 16 << 20  # bytes of the files of a unit, about
INDEX = "index.json"
UNITS = 64  # of a set that is not very large, so that ranks have equal shares
MOST_DECODED = 64 << 20  # bytes of the decoded files of a unit


@dataclass
class Findings:
    """Findings on files: those that cannot be decoded, and sizes and kinds of the others.

    Attributes
    ----------
    bad : dict of int to str
        The reason of each file, by its number.
    ranges : dict of str to (float, float)
        The least and the largest of each size.
    kinds : Counter of str
        Files of each kind, as in "JPEG RGB".
    """

    bad: dict[int, str] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, facts: Facts) -> None:
        """Count one file."""
        self.merge(Findings({}, {name: (size, size) for name, size in facts.sizes.items()}, Counter([facts.kind])))

    def merge(self, other: "Findings") -> None:
        """Add those of other files."""
        self.bad |= other.bad
        for name, (low, high) in other.ranges.items():
            least, most = self.ranges.get(name, (low, high))
            self.ranges[name] = min(least, low), max(most, high)
        self.kinds += other.kinds

    def to_bytes(self) -> bytes:
        """Return them as JSON."""
        facts = {"bad": self.bad, "ranges": self.ranges, "kinds": self.kinds, "machine": machine()}
        return to_json(facts).encode()

    @classmethod
    def read(cls, path: Path) -> "Findings | None":
        """Return what ``to_bytes`` has left in a file; None if it is not there, or a mark of before the last start.

        What an index tells of is on the disk.
        """
        try:
            facts: dict[str, Any] = json.loads(path.read_bytes())
            (name, run), (own_name, own_run) = facts["machine"], machine()
            if path.name != INDEX and name == own_name and run != own_run:
                return None
            bad = {int(number): reason for number, reason in facts["bad"].items()}
            return cls(bad, {key: tuple(pair) for key, pair in facts["ranges"].items()}, Counter(facts["kinds"]))
        except (OSError, ValueError, KeyError, TypeError):  # a mark may be empty after a crash of the machine
            return None


class MediaStore:
    """The samples of files, all of one form.

    Parameters
    ----------
    files : sequence of str
    form : Form

    Raises
    ------
    UserError
        If a file is not there, or a library is not installed.

    Attributes
    ----------
    finishing : Thread or None
        It waits for the disk after ``open`` has decoded files.
    """

    finishing: threading.Thread | None = None

    def __init__(self, files: Sequence[str], form: Form):
        self.files, self.form = files, form
        self._facts = list(form.facts())
        try:
            self._stats = [os.stat(file) for file in files]
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror})") from None

    @cached_property
    def folder(self) -> Path:
        """The folder in the cache: another one if a file, an option or a library has changed."""
        facts = (
            (os.path.abspath(file), found.st_size, found.st_mtime_ns)
            for file, found in zip(self.files, self._stats, strict=True)
        )
        return self.form.medium.cache.path_for(["decoded", *self._facts, *facts], "")

    @property
    def values(self) -> Path:
        """The file of all samples, (N, H, W, C)."""
        return self.folder / "values.bin"

    @property
    def index(self) -> Path:
        """The file that is there when all files are decoded."""
        return self.folder / INDEX

    @property
    def num_bytes(self) -> int:
        """The length of ``values``."""
        return len(self.files) * self.form.num_bytes

    def is_complete(self) -> bool:
        """Return whether all files are decoded."""
        return self.index.exists() and self.values.exists() and self.values.stat().st_size == self.num_bytes

    def units(self) -> "list[DecodingUnit]":
        """Return the work to do before ``open``, which ranks may share; none where it is done."""
        if self.is_complete():
            return []
        self._forget()
        return self._units()

    def _units(self) -> "list[DecodingUnit]":
        total = sum(found.st_size for found in self._stats)
        most = min(MOST, max(LEAST, total // UNITS))
        most_files = max(1, MOST_DECODED // self.form.num_bytes)
        starts, size = [0], 0
        for number, found in enumerate(self._stats):
            if number > starts[-1] and (size + found.st_size > most or number - starts[-1] >= most_files):
                starts.append(number)
                size = 0
            size += found.st_size
        stops = [*starts[1:], len(self.files)]
        return [DecodingUnit(self, *place) for place in zip(range(len(starts)), starts, stops)]

    def _forget(self) -> None:
        """Remove an index without its values, which it was written after, or one that cannot be read."""
        with contextlib.suppress(OSError):
            if self.index.exists() and not (self.is_complete() and Findings.read(self.index)):
                self.index.unlink()

    def open(self) -> tuple[np.ndarray, Findings]:
        """Return the samples as (N, H, W, C), mapped, and the findings; those that are bad hold anything.

        Raises
        ------
        UserError
            If a file cannot be read, or the cache cannot be written.
        """
        found = Findings.read(self.index) if self.is_complete() else None
        if found is None:
            self._forget()
            found = self._decode()
        shape = (len(self.files), *self.form.dims)
        return np.memmap(self.values, self.form.dtype, "r", shape=shape), found

    def _decode(self) -> Findings:
        """Do the units that are not done, and return the findings of all."""
        units, found = self._units(), Findings()
        for unit in random.Random(os.getpid()).sample(units, len(units)):  # other processes begin elsewhere
            of_unit = unit.run()
            if of_unit is None:  # the index has taken the place of the marks meanwhile
                whole = Findings.read(self.index)
                assert whole is not None
                return whole
            found.merge(of_unit)
        self.finishing = threading.Thread(target=self._finish, args=(found, units), name="samples-to-disk")
        self.finishing.start()
        return found

    def _finish(self, found: Findings, units: "Iterable[DecodingUnit]") -> None:
        """Write the index when the values are on the disk; if that fails, the marks stay, and the next run tries it."""
        with contextlib.suppress(OSError, UserError):
            descriptor = os.open(self.values, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.form.medium.cache.write(self.index, found.to_bytes())
            for unit in units:
                with contextlib.suppress(OSError):
                    unit.path.unlink()


@dataclass(frozen=True)
class DecodingUnit:
    """A range of files, decoded at once by the threads of this process.

    Attributes
    ----------
    store : MediaStore
    number : int
    start, stop : int
        Its files.
    """

    store: MediaStore
    number: int
    start: int
    stop: int

    @property
    def path(self) -> Path:
        """The file that tells that it is done."""
        return self.store.folder / f"unit-{self.number:06d}.json"

    def run(self) -> Findings | None:
        """Do it unless it is done, and return what was found; None where all files are in the index."""
        if self.store.is_complete():
            return None
        return Findings.read(self.path) or self._decode()

    def _decode(self) -> Findings:
        form, files = self.store.form, self.store.files[self.start : self.stop]
        values = np.zeros((len(files), *form.dims), form.dtype)

        def work(number: int) -> Facts | str:
            try:
                values[number], facts = form.decode(files[number])
            except Undecodable as error:
                return str(error)
            return facts

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF, palettes and sizes: the files are decoded all the same
            with ThreadPoolExecutor(max(1, CPU.threads), "decoding") as pool:
                found = list(pool.map(work, range(len(files))))
        findings = Findings()
        for number, facts in enumerate(found, self.start):
            if isinstance(facts, str):
                findings.bad[number] = facts
            else:
                findings.add(facts)
        self._write(values)
        form.medium.cache.write(self.path, findings.to_bytes(), wait=False)
        return findings

    def _write(self, values: np.ndarray) -> None:
        """Write decoded samples to their place in the file of all."""
        form = self.store.form
        path, offset = self.store.values, self.start * form.num_bytes
        left = values.reshape(-1).view(np.uint8).data
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _check_room(descriptor, self.store.num_bytes)
                os.ftruncate(descriptor, self.store.num_bytes)
                while left:
                    written = os.pwrite(descriptor, left, offset)
                    left, offset = left[written:], offset + written
            finally:
                os.close(descriptor)
        except OSError as error:
            raise form.medium.cache.refusal(path.parent, error) from None


@cache
def machine() -> tuple[str, str]:
    """Return the name of this machine, and of the time since it was started."""
    try:
        run = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux: marks of other processes do not count
        run = f"process {os.getpid()}"
    return os.uname().nodename, run


def _check_room(descriptor: int, num_bytes: int) -> None:
    """Raise an OSError at once if the disk has no room for a file that will have ``num_bytes``."""
    disk, missing = os.fstatvfs(descriptor), num_bytes - os.fstat(descriptor).st_blocks * 512
    room = disk.f_bavail * disk.f_frsize
    if missing > room:
        sizes = [f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB" for n in (num_bytes, room)]
        raise OSError(f"they take {sizes[0]}, and {sizes[1]} are free")
