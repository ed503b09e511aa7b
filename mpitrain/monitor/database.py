"""The database of runs: one SQLite file for many runs, which write and read it at once.

In WAL mode readers and one writer do not wait for each other; it needs memory that all processes share, so on a file
system of several hosts the journal is a file instead, and readers wait for the writer. Writers always take turns, each
for the milliseconds of a batch of rows.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from .base import make_directory

DEFAULT_FILE = "runs/runs.sqlite"
VERSION = 1
SETUP_SECONDS = 20.0  # to wait for other runs that make the same database

NETWORK_FILE_SYSTEMS = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "panfs",
        "ceph",
        "glusterfs",
        "afs",
        "orangefs",
        "pvfs2",
        "9p",
        "fuse.sshfs",
        "fuse.glusterfs",
    )
)
"""File systems of several hosts, as /proc/mounts names them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,      -- stored in the run's directory
    name TEXT NOT NULL, path TEXT, -- of the directory; no path without one
    state TEXT NOT NULL,           -- running, finished, stopped, preempted, failed
    reason TEXT,                   -- of a failure or an early stop
    begun REAL NOT NULL, updated REAL NOT NULL, ended REAL, -- seconds since 1970
    version TEXT, mpi TEXT, device TEXT, host TEXT, owner TEXT,
    ranks INTEGER, data TEXT, model TEXT, parameters INTEGER, metric TEXT, larger_is_better INTEGER,
    step INTEGER NOT NULL, epoch INTEGER NOT NULL, steps INTEGER -- done so far, and of the whole run
);
CREATE TABLE IF NOT EXISTS settings (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL, value TEXT, is_default INTEGER NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL, epoch INTEGER NOT NULL,
    loss REAL, lr REAL, local INTEGER NOT NULL, -- 1: the loss of rank 0 alone (--sync)
    PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epochs (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL, epoch INTEGER NOT NULL,
    lr REAL, samples_per_second REAL, seconds REAL, at REAL NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL,
    split TEXT NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (run, step, split, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS times (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL, rank INTEGER NOT NULL,
    compute REAL, input REAL, waiting REAL, sync REAL, -- seconds
    PRIMARY KEY (run, step, rank)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faults (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL, at REAL NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL -- kind: skipped, note, lost ranks, exception
);
CREATE INDEX IF NOT EXISTS faults_of_a_run ON faults (run, step);
CREATE TABLE IF NOT EXISTS checkpoints (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, step INTEGER NOT NULL, file TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;
"""

TABLES = ("settings", "steps", "epochs", "scores", "times", "faults", "checkpoints")
"""Tables with rows of runs, in their column ``run``."""


def open_database(
    path: Path, journal: str = "auto", *, make: bool = True, wait: float = SETUP_SECONDS
) -> sqlite3.Connection:
    """Return a connection to the database at ``path``.

    Parameters
    ----------
    journal : str
        "wal", "delete" (for file systems of several hosts), or "auto".
    make : bool
        Make the file and its tables where they are missing.
    wait : float
        Seconds to wait for other processes.

    Raises
    ------
    UserError
        If it cannot be opened, or is not a database of runs that this version knows.
    """
    with errors(path):
        if make:
            make_directory(path.parent)
        elif not path.is_file():
            raise UserError(f"there is no database of runs {path}: train --monitor sqlite makes one")
        connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise UserError(f"{path} was written by a newer version of mpitrain")
            if version < VERSION and not make:
                raise UserError(f"{path} is not a database of runs")
            until = time.monotonic() + wait
            if journal != "auto" or version < VERSION:
                _set_journal(connection, _journal_for(path) if journal == "auto" else journal, until)
            if version < VERSION:
                _make_tables(connection)
            connection.execute("PRAGMA foreign_keys = ON")
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                connection.execute("PRAGMA synchronous = NORMAL")  # no wait for the disk; whole in any case
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def errors(path: Path) -> Iterator[None]:
    """Convert errors of the system and of SQLite to a UserError that names the file."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise UserError(f"cannot use {path}: {error}") from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all of the block, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # some errors have ended the transaction
            connection.execute("ROLLBACK")
        raise


def on_network(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Return whether ``path`` is on a file system of several hosts; False where the system does not tell."""
    try:
        lines = mounts.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return False
    here = str(path.absolute().parent.resolve())
    kind, longest = "", -1
    for line in lines:
        _, place, found, *_ = line.split()
        place = place.replace("\\040", " ")
        if len(place) >= longest and (here == place or here.startswith(place.rstrip("/") + "/")):
            kind, longest = found, len(place)
    return kind in NETWORK_FILE_SYSTEMS


def _journal_for(path: Path) -> str:
    return "delete" if on_network(path) else "wal"


def _set_journal(connection: sqlite3.Connection, journal: str, until: float) -> None:
    """Set the journal mode, for which SQLite does not wait for other processes itself."""
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != journal:
        try:
            connection.execute(f"PRAGMA journal_mode = {journal}")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables, if no other process has made them meanwhile."""
    with transaction(connection):
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def check_writable(path: Path) -> None:
    """Raise a UserError if ``path``, or the directory in which its journal goes, cannot be written."""
    for one in (path, path.parent):
        if one.exists() and not os.access(one, os.W_OK):
            raise UserError(f"cannot write {one}: permission denied")
