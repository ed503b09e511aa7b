"""Asynchronous checkpoint writer: every rank copies its part and a thread writes it.

    all ranks   create, open, copy | train ... train | exchange checksums, close | train ...
    thread                         | write, flush    |                           | rank 0: header, rename

The file has no name and no header until every rank has reported its part on the disk. Whatever fails before that
leaves the earlier checkpoints as they are: it is reported once, and training continues.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...comm.group import Group
from ...comm.shared_file import SharedFile
from ...comm.world import World
from ...data.sampler import share
from ...json_text import to_json
from . import folder
from .crc32 import combine, crc_of_zeros
from .layout import make_header
from .parts import Checksum, Part
from .state import Held, State, held


class Writer:
    """Writer of the checkpoints of a run.

    All ranks call ``begin`` and ``end`` after the same steps.

    Parameters
    ----------
    world : World
        All ranks, which write the checkpoint together.
    directory : Path
        Directory of the checkpoints; created with the first one.
    state : State
    group : Group, optional
        The ranks with a copy of this arena, if the arenas of other ranks are other parts of the model. All by default.
    slices : tuple of slice, optional
        The parts of the arena that this rank writes; together those of the ranks of ``group`` are the arena. An equal
        share if None, as of the frozen parameters behind it.
    own_states : bool
        True where each rank of ``group`` has running statistics of its own.
    keep : int
        Checkpoints that are kept.
    note : callable(str)
        Called with a description of each failure (rank 0).

    Attributes
    ----------
    running : bool
        True between ``begin`` and ``end``, the same on all ranks.
    written, failed, num_bytes : int
        Checkpoints completed and given up (known on rank 0), and the size of the last.
    stalls : list of float
        Seconds that training has stood still for each checkpoint.
    """

    def __init__(
        self,
        world: World,
        directory: Path,
        state: State,
        *,
        group: Group | None = None,
        slices: tuple[slice, ...] | None = None,
        own_states: bool = False,
        keep: int = 2,
        note: Callable[[str], None] = lambda text: None,
        on_timed: Callable[[str, float, float], None] = lambda name, begin, end: None,
    ):
        self._world, self._directory, self._state, self._keep, self._note = world, directory, state, keep, note
        self._on_timed = on_timed
        self._copies = copies = group or world
        size, frozen = state.arena.size, share(state.arena.num_values - state.arena.size, copies.rank, copies.size)
        own = (share(size, copies.rank, copies.size),) if slices is None else slices
        self._slices = state.arena.divided or (*own, slice(size + frozen.start, size + frozen.stop))
        self._rows = copies.size if own_states else 0
        self._part: Part | None = None
        self._thread = self._last_thread = threading.Thread()
        self._error: str | None = None
        self._checksums: list[Checksum] = []
        self.running = False
        self.written = self.failed = self.num_bytes = 0
        self.stalls: list[float] = []

    @property
    def idle(self) -> bool:
        """True if this rank's thread has nothing left to write; once true on all ranks, ``end`` does not wait."""
        return not (self.running and self._thread.is_alive())

    def begin(self, step: int, metadata: dict[str, Any]) -> None:
        """Copy the state and begin to write it, with the JSON-able ``metadata`` of rank 0."""
        begin = time.perf_counter()
        if self._part is None:
            left_out = self._held_before()
            copies = self._copies
            self._part = Part(self._state, self._slices, copies.rank, self._rows, left_out, copies.size)
        self._path, self._metadata = folder.path_of_step(self._directory, step), to_json(metadata, words=True)
        data_begin = self._create()
        file = self._open() if data_begin is not None else None
        if file is not None and data_begin is not None:
            self._part.copy()
            self._file, self._error, self.running = file, None, True
            self._thread = threading.Thread(target=self._write, args=(self._part, file, data_begin), daemon=True)
            self._thread.start()
        self.stalls.append(self._timed("checkpoint: copy", begin))

    def end(self, *, wait: bool = False) -> None:
        """Complete the checkpoint that was begun; with ``wait`` return when it is on the disk (on rank 0)."""
        begin = time.perf_counter()
        self._thread.join()
        answers = self._world.all_gather((self._error, self._checksums))
        with contextlib.suppress(OSError):
            self._file.close()
        self.running = False
        errors = [f"rank {rank}: {error}" for rank, (error, _) in enumerate(answers) if error]
        if errors:
            self._give_up(errors[0])
        elif self._world.rank == 0:
            sums = [checksum for _, checksums in answers for checksum in checksums]
            self._last_thread = threading.Thread(target=self._complete, args=(sums,))
            self._last_thread.start()
            if wait:
                self._last_thread.join()
        self.stalls[-1] += self._timed("checkpoint: complete", begin)

    def _held_before(self) -> frozenset[Held]:
        """Return the tensors, or parts of them, that ranks of an earlier group write, since their arenas hold them too.

        Raises
        ------
        ValueError
            On all ranks, if a tensor of the model is in none of their arenas.
        """
        if self._copies.size == self._world.size:
            return frozenset()
        arena, first = self._state.arena, self._copies.world_ranks[0]
        mine = [held(tensor) for tensor in arena.tensors]
        everyone = self._world.all_gather((first, mine if self._copies.rank == 0 else []))
        names = {name for _, some in everyone for name, _ in some}
        lacking = next((entry.name for entry in arena.whole if entry.name not in names), None)
        if lacking is not None:
            raise ValueError(f"no rank has the tensor {lacking} of the model")
        return frozenset(one for group, some in everyone if group < first for one in some)

    def _timed(self, name: str, begin: float) -> float:
        """Report a part that ends now; return its seconds."""
        end = time.perf_counter()
        self._on_timed(name, begin, end)
        return end - begin

    def close(self) -> None:
        """Complete the checkpoint in progress and wait for it (collective)."""
        if self.running:
            self.end(wait=True)
        if self._last_thread.ident is not None:
            self._last_thread.join()

    def abandon(self) -> None:
        """Wait for this rank's threads, and complete nothing: other ranks are lost."""
        for thread in (self._thread, self._last_thread):
            if thread.ident is not None:
                thread.join()
        if self.running:
            with contextlib.suppress(OSError):
                self._file.close()
        self.running = False

    def _create(self) -> int | None:
        """Create the file on rank 0; return where its data begin, or None on all ranks if that cannot be."""
        answer: tuple[str | None, int] = (None, 0)
        if self._world.rank == 0:
            if self._last_thread.ident is not None:
                self._last_thread.join()
            assert self._part is not None
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                folder.unfinished(self._path).write_bytes(b"")
                answer = None, len(make_header(self._part.tensors, self._metadata, {}))
            except OSError as error:
                answer = error.strerror or str(error), 0
        reason, data_begin = self._world.all_gather(answer)[0]
        if reason:
            self._give_up(reason)
        return None if reason else data_begin

    def _open(self) -> SharedFile | None:
        """Open the file; return None on all ranks if one of them cannot."""
        file = reason = None
        try:
            file = self._world.open_file(folder.unfinished(self._path))
        except OSError as error:
            reason = error.strerror or str(error)
        errors = self._world.all_gather(reason)
        failed = next((f"rank {rank}: {text}" for rank, text in enumerate(errors) if text), None)
        if failed:
            self._give_up(failed)
        return None if failed else file

    def _write(self, part: Part, file: SharedFile, data_begin: int) -> None:
        problem: str | None = "the thread that writes it has failed"
        try:
            for offset, data in part.stretches():
                file.write_at(data_begin + offset, data)
            self._checksums = part.checksums()
            file.flush()
            problem = None
        except OSError as error:
            problem = error.strerror or str(error)
        finally:
            self._error = problem

    def _complete(self, sums: list[Checksum]) -> None:
        assert self._part is not None
        header = make_header(self._part.tensors, self._metadata, _joined(sums))
        try:
            folder.complete(self._path, header)
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return
        folder.keep_last(self._directory, self._keep)
        self.written += 1
        self.num_bytes = len(header) + max((t.end for t in self._part.tensors), default=0)

    def _give_up(self, reason: str) -> None:
        if self._world.rank == 0:
            self.failed += 1
            with contextlib.suppress(OSError):
                folder.unfinished(self._path).unlink()
            self._note(
                f"no checkpoint {self._path.name}: {reason}; training continues, earlier checkpoints are untouched"
            )


def _joined(sums: list[Checksum]) -> dict[str, int]:
    """Return the checksum of each tensor from those of its pieces.

    Of two scattered pieces, one has zeros where the other has bytes: CRC-32 is affine, so crc(a xor b) = crc(a) xor
    crc(b) xor crc(0).
    """
    joined: dict[str, int] = {}
    for piece in sorted(sums, key=lambda piece: (piece.name, piece.skip)):
        before = joined.get(piece.name)
        if before is None:
            joined[piece.name] = piece.crc
        elif piece.scattered:
            joined[piece.name] = before ^ piece.crc ^ crc_of_zeros(piece.num_bytes)
        else:
            joined[piece.name] = combine(before, piece.crc, piece.num_bytes)
    return joined
