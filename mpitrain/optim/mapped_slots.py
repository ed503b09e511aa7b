"""Slots of an optimizer in a file that is mapped into memory, for state larger than the memory.

The system writes pages that have changed to the disk and drops them when memory runs short (Rajbhandari et al. 2021,
"ZeRO-Infinity", arXiv 2104.07857, offloads state to disks with messages of its own). The file has no name: it vanishes
with the process, whatever ends it.
"""

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..plain_text import binary_size
from .base import Optimizer


def map_slots(optimizer: Optimizer, directory: Path, parts: tuple[slice, ...] | None) -> int:
    """Move the slots of ``optimizer`` to a file in ``directory``, before its first step; return the bytes on the disk.

    Parameters
    ----------
    parts : tuple of slice or None
        The parts of the arena that this rank updates; the disk has no space for others. None for all.

    Raises
    ------
    UserError
        If the file cannot be made, or the disk is too full.
    """
    arena = optimizer.arena
    if not isinstance(arena.values, np.ndarray):
        raise UserError("--offload-optimizer is for ranks that compute on a CPU: the state of a GPU stays there")
    length = -(-arena.size * arena.dtype.itemsize // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
    places = [
        (number * length + part.start * arena.dtype.itemsize, (part.stop - part.start) * arena.dtype.itemsize)
        for number in range(len(optimizer.slots))
        for part in parts or (slice(0, arena.size),)
        if part.start < part.stop
    ]
    total: int = sum(num_bytes for _, num_bytes in places)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            os.ftruncate(file.fileno(), max(1, length * len(optimizer.slots)))
            for begin, num_bytes in places:  # a page that finds no space later would end the process
                os.posix_fallocate(file.fileno(), begin, num_bytes)
            for number, (name, slot) in enumerate(optimizer.slots.items()):
                mapped = np.memmap(file, arena.dtype, "r+", number * length, slot.shape)
                optimizer.slots[name] = np.asarray(mapped)
    except OSError as error:
        raise UserError(
            f"cannot keep the optimizer's state of a rank, {binary_size(total)}, in {directory}: {error.strerror}"
        ) from None
    return total
