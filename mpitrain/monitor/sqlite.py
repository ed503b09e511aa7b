"""The database of runs (``--monitor sqlite``), which ``mpitrain runs`` lists and compares."""

import contextlib
import os
import sqlite3
import time
from collections import deque
from dataclasses import astuple
from pathlib import Path
from typing import Any, Literal

from .. import __version__
from ..errors import UserError
from ..json_text import to_json
from ..training.checkpoint.folder import newest_first
from ..training.directory.owner import current_owner, write_owner
from ..training.directory.run_directory import CHECKPOINTS
from ..training.hooks import StepInfo
from ..training.run import TrainingRun
from .base import DELAY_SECONDS, Monitor, Pace, changed_settings
from .database import DEFAULT_FILE, check_writable, errors, open_database, transaction

MOST_ROWS = 200_000
"""Rows of steps, and other rows, that wait at most while they cannot be written; the oldest are dropped."""

WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 15.0
"""Time to wait for another writer, for which all ranks wait: during the training, and at its end."""

NEW_RUN = """INSERT INTO runs (key, name, path, state, begun, updated, step, epoch)
    VALUES (:key, :name, :path, 'running', :now, :now, 0, 0) ON CONFLICT (key) DO NOTHING"""
FACTS = """UPDATE runs SET name = :name, path = :path, state = 'running', reason = NULL, ended = NULL,
    version = :version, mpi = :mpi, device = :device, host = :host, owner = :owner, ranks = :ranks, data = :data,
    model = :model, parameters = :parameters, metric = :metric, larger_is_better = :larger, steps = :steps
    WHERE id = :run"""


class SQLite(Monitor):
    """A database of runs, with settings, steps, scores, time shares, faults and checkpoints, for mpitrain runs.

    Parameters
    ----------
    file : str
    journal : str
        auto, wal, or delete where several hosts write a database on a network file system.
    every : int
        Steps between two rows of single steps.
    """

    def __init__(self, file: str = DEFAULT_FILE, journal: Literal["auto", "wal", "delete"] = "auto", every: int = 1):
        if every < 1:
            raise UserError(f"the monitor sqlite: every is {every}, but must be at least 1")
        self._path, self._journal, self._every = Path(file), journal, every
        self._connection: sqlite3.Connection | None = None
        self._steps: deque[tuple[Any, ...]] = deque(maxlen=MOST_ROWS)
        self._rows: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=MOST_ROWS)

    def check(self, has_directory: bool) -> None:
        """Raise a UserError if the database cannot be opened and written."""
        check_writable(self._path)
        open_database(self._path, self._journal).close()

    def train_begin(self, info: StepInfo) -> None:
        """Begin the run, or continue its rows after the step at which it is resumed."""
        run = info.run
        self._facts, self._settings = {"key": self.run_id(info), **_facts(run)}, self.settings(info)
        self._after = run.step, run.results.last_step
        self._run = 0  # not known yet
        self._checkpoints: set[int] = set()
        self._pace = Pace(DELAY_SECONDS)
        self._state: tuple[Any, ...] = ("running", None, None)  # with its reason, and the time of its end
        run.display.on_note.append(lambda text: self._fault(run.step, "note", text))
        for loss in run.losses[-1:]:
            self._fault(run.step, "lost ranks", f"rank {', '.join(map(str, loss['ranks']))}")
        self._flush(info)

    def step_end(self, info: StepInfo) -> None:
        """Keep the row of a step, and write those that have waited long enough."""
        if info.skipped:
            self._fault(info.step, "skipped", info.skipped)
        elif info.step % self._every == 0:
            self._steps.append((info.step, info.epoch, info.loss, info.lr, info.local))
        if self._pace.is_due:
            self._flush(info)

    def checkpoint_begin(self, info: StepInfo) -> None:
        """Write everything: after a resume, the steps before the checkpoint do not come again."""
        self._flush(info)

    def evaluate_end(self, info: StepInfo) -> None:
        """Keep the figures of an evaluation."""
        result, step = info.result, info.step
        assert result is not None
        figures = (result.epoch, result.lr, result.samples_per_second, result.seconds, time.time())
        self._put("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?)", step, *figures)
        splits = {"train": result.train, "validation": result.validation, "test": result.test}
        for split, scores in splits.items():
            for name, value in scores.items():
                self._put("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", step, split, name, value)
        for rank, times in enumerate(info.run.times_of_ranks):
            self._put("INSERT OR REPLACE INTO times VALUES (?, ?, ?, ?, ?, ?, ?)", step, rank, *astuple(times))
        if self._pace.is_due:
            self._flush(info)

    def train_end(self, info: StepInfo) -> None:
        """Write everything, and how the run has ended."""
        run = info.run
        state = "preempted" if run.preempted else "stopped" if run.stopped else "finished"
        self._end(info, state, run.finished or None)

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Write everything, and why the run has failed."""
        text = " ".join(str(error).split()) or type(error).__name__
        self._fault(info.step, "exception", text)
        self._end(info, "failed", text)

    def _end(self, info: StepInfo, state: str, reason: str | None) -> None:
        self._state = state, reason, time.time()
        if self._connection is not None:
            seconds = _patience(info.run, LAST_WAIT_SECONDS)
            self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
        try:
            self._flush(info)
        finally:
            self._close()

    def _fault(self, step: int, kind: str, text: str) -> None:
        self._put("INSERT INTO faults VALUES (?, ?, ?, ?, ?)", step, time.time(), kind, text)

    def _put(self, statement: str, *values: Any) -> None:
        """Keep a row; its first value, the number of the run, is known when it is written."""
        self._rows.append((statement, values))

    def _flush(self, info: StepInfo) -> None:
        """Write all rows that wait, in one transaction.

        Raises
        ------
        UserError
            If that cannot be: they are kept. Or if the file was removed: what follows is in a new one.
        """
        with self._pace.work(), errors(self._path):
            removed = self._connection is not None and not self._is_same_file()
            if removed:
                self._close()
                self._run, self._after = 0, (info.step, info.run.results.last_step)
            if self._connection is None:
                self._connection = open_database(self._path, self._journal, wait=_patience(info.run, WAIT_SECONDS))
                self._inode = _inode(self._path)
            checkpoints = self._new_checkpoints(info.run.path)
            with transaction(self._connection):
                run = self._run if self._is_there(self._connection) else self._begin(self._connection)
                self._write(self._connection, run, checkpoints, info)
            self._run = run
            self._checkpoints |= {step for step, _, _ in checkpoints}
            self._steps.clear()
            self._rows.clear()
        if removed:
            raise UserError(f"{self._path} was removed: what follows is in a new database")

    def _is_there(self, connection: sqlite3.Connection) -> bool:
        """Return whether the run still has its row."""
        found = connection.execute("SELECT id FROM runs WHERE id = ?", (self._run,)).fetchone()
        return found is not None

    def _begin(self, connection: sqlite3.Connection) -> int:
        """Return the number of the run, with the rows of its earlier parts up to where it continues."""
        connection.execute(NEW_RUN, self._facts)
        run = int(connection.execute("SELECT id FROM runs WHERE key = ?", (self._facts["key"],)).fetchone()[0])
        connection.execute(FACTS, {**self._facts, "run": run})
        step, evaluated = self._after
        for table in ("steps", "faults", "checkpoints"):
            connection.execute(f"DELETE FROM {table} WHERE run = ? AND step > ?", (run, step))
        for table in ("epochs", "scores", "times"):
            connection.execute(f"DELETE FROM {table} WHERE run = ? AND step > ?", (run, evaluated))
        connection.execute("DELETE FROM settings WHERE run = ?", (run,))
        changed = changed_settings(self._settings)
        rows = [(run, name, to_json(value), name not in changed) for name, value in self._settings.items()]
        connection.executemany("INSERT INTO settings VALUES (?, ?, ?, ?)", rows)
        return run

    def _write(
        self, connection: sqlite3.Connection, run: int, checkpoints: list[tuple[int, str, float]], info: StepInfo
    ) -> None:
        steps = [(run, *row) for row in self._steps]
        connection.executemany("INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?)", steps)
        for statement, values in self._rows:
            connection.execute(statement, (run, *values))
        rows = [(run, *row) for row in checkpoints]
        connection.executemany("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)", rows)
        connection.execute(
            "UPDATE runs SET step = ?, epoch = ?, updated = ?, state = ?, reason = ?, ended = ? WHERE id = ?",
            (info.step, min(info.epoch, info.run.length.last_epoch), time.time(), *self._state, run),
        )

    def _new_checkpoints(self, directory: Path | None) -> list[tuple[int, str, float]]:
        """Return (step, file, time) of the complete checkpoints that are not yet in the database."""
        found = []
        for path in [] if directory is None else newest_first(directory / CHECKPOINTS):
            step = int(path.stem.partition("-")[2])
            if step not in self._checkpoints:
                with contextlib.suppress(OSError):  # removed just now, for a newer one
                    found.append((step, path.name, path.stat().st_mtime))
        return found

    def _is_same_file(self) -> bool:
        return _inode(self._path) == self._inode

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _patience(run: TrainingRun, most: float) -> float:
    """Return the seconds to wait for another writer: the other ranks wait, too, and must not time out."""
    timeout = run.config.parallel.timeout
    return min(most, timeout / 4) if timeout else most


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _facts(run: TrainingRun) -> dict[str, Any]:
    """Return what the table ``runs`` says of a run that begins."""
    config, setup, path = run.config, run.setup, run.path
    owner = current_owner("")
    return {
        "name": "" if path is None else path.absolute().name,
        "path": None if path is None else str(path.absolute()),
        "now": time.time(),
        "version": __version__,
        "mpi": run.world.mpi_version,
        "device": ", ".join(run.devices),
        "host": owner.host,
        "owner": write_owner(owner).decode(),
        "ranks": run.world.size,
        "data": config.data.source or setup.dataset.name,
        "model": config.model.name,
        "parameters": setup.num_parameters,
        "metric": run.scoring.metric,
        "larger": run.scoring.larger_is_better,
        "steps": run.length.total_steps,
    }
