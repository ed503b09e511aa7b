"""Memory that all ranks of a node can read, in files without a name."""

import contextlib
import mmap
import os
import tempfile
from typing import Any

from .slot import SLOT_BYTES

PLACES = ("/dev/shm", None)  # None is the directory for temporary files


def shared_memory(node: Any) -> tuple[mmap.mmap, int]:
    """Return memory for the slots of all ranks of the node, and a file for stacks; for one slot if that fails."""
    for place in PLACES:
        paths = None
        if node.rank == 0:
            with contextlib.suppress(OSError):
                paths = _make_files(place, node.size * SLOT_BYTES)
        paths = node.bcast(paths)
        if paths is None:
            continue
        memory, stacks = None, -1
        with contextlib.suppress(OSError, ValueError):
            memory, stacks = _open_files(*paths)
        everybody = all(node.allgather(memory is not None))
        if node.rank == 0:
            for path in paths:
                os.unlink(path)
        if everybody and memory is not None:
            return memory, stacks
    return mmap.mmap(-1, SLOT_BYTES), -1


def _make_files(place: str | None, num_bytes: int) -> tuple[str, str]:
    ledger, path = tempfile.mkstemp(prefix="mpitrain-ledger-", dir=place)
    try:
        os.posix_fallocate(ledger, 0, num_bytes)  # now: a later store into a page without memory ends the process
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(ledger)
    stacks, stacks_path = tempfile.mkstemp(prefix="mpitrain-stacks-", dir=place)
    os.close(stacks)
    return path, stacks_path


def _open_files(path: str, stacks_path: str) -> tuple[mmap.mmap, int]:
    ledger = os.open(path, os.O_RDWR)
    try:
        memory = mmap.mmap(ledger, 0)
    finally:
        os.close(ledger)
    return memory, os.open(stacks_path, os.O_RDWR | os.O_APPEND)
