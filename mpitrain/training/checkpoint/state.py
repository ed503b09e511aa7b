"""Training state: the arena's values and states, the slots of the optimizer and of the synchronization, a step count.

A checkpoint writes it to a file, ``Snapshot`` keeps it in memory.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ...arena import Arena, Parameter
from ...optim import Optimizer
from ...parameter import Shard, Tensor

Held = tuple[str, Shard | None]
"""The name of a tensor, and the part of it that a rank holds; None for all of it."""

SYNC = "sync."  # before the names of the synchronization's slots


class State(NamedTuple):
    """The state of a training run, or of this rank's stages of it, in place.

    Attributes
    ----------
    sync_slots : mapping of str to (arena.size,) array
        State of the gradient synchronization; see ``GradientSync.slots``.
    own_slots : bool
        True if each rank has slots of the optimizer of its own; see ``GradientSync.own_slots``.
    """

    arena: Arena
    optimizer: Optimizer
    sync_slots: Mapping[str, np.ndarray] = {}
    own_slots: bool = False

    @property
    def slots(self) -> dict[str, np.ndarray]:
        """The slots by the prefix that the names of their tensors get."""
        own = {f"optimizer.{name}.": slot for name, slot in self.optimizer.slots.items()}
        return own | {f"{SYNC}{name}.": slot for name, slot in self.sync_slots.items()}

    def is_own(self, prefix: str) -> bool:
        """Return whether each rank has a buffer of its own of that prefix: a file then has a row for each rank."""
        return self.own_slots and prefix.startswith("optimizer.")

    def buffers(self) -> dict[str, np.ndarray]:
        """Return the buffers by the prefix that the names of their tensors get: values, and (arena.size,) slots."""
        return {"": self.arena.values} | self.slots


class Snapshot:
    """A copy of a state in memory, to go back to.

    Parameters
    ----------
    state : State
    parts : tuple of slice
        Slices of the arena, the parts of each slot to keep (by default all); trained values and states are kept whole.
    """

    def __init__(self, state: State, parts: tuple[slice, ...] | None = None):
        self._state = state
        slots = [slot[part] for slot in state.slots.values() for part in parts or (slice(None),)]
        self._live = [state.arena.values[: state.arena.trained_size], state.arena.states, *slots]
        self._kept = [array.copy() for array in self._live]
        self._step_count = state.optimizer.step_count

    def take(self) -> None:
        """Copy the state as it is now."""
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(kept, live)
        self._step_count = self._state.optimizer.step_count

    def restore(self) -> None:
        """Restore the state of the last ``take``."""
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(live, kept)
        self._state.arena.values_changed()
        self._state.optimizer.step_count = self._step_count


def overlaps(parameters: list[Parameter], parts: tuple[slice, ...]) -> Iterator[tuple[Parameter, slice]]:
    """Yield each parameter with the part of the arena that it shares with each of ``parts``."""
    for part in parts:
        for p in parameters:
            start, stop = max(p.start, part.start), min(p.stop, part.stop)
            if start < stop:
                yield p, slice(start, stop)


def held(tensor: Tensor) -> Held:
    """Return the name of a tensor, and the part of it that this rank holds."""
    return tensor.name, tensor.shard


def state_runs(arena: Arena, left_out: frozenset[Held] = frozenset()) -> list[tuple[slice, slice]]:
    """Return the parts of ``arena.states`` with their places among the states of the whole model, adjacent ones merged.

    Parameters
    ----------
    left_out : frozenset of (str, Shard or None)
        States that do not count.
    """
    places, there = {}, 0
    for entry in arena.whole.states:
        places[entry.name] = there
        there += entry.size
    runs: list[tuple[slice, slice]] = []
    here = 0
    for s in arena.state_list:
        parts = [(0, 0, s.size)] if s.shard is None else s.shard.runs(s.full_shape, 0, s.size)
        for first, place, length in parts if held(s) not in left_out else ():
            part, there = slice(here + first, here + first + length), places[s.name] + place
            if runs and (runs[-1][0].stop, runs[-1][1].stop) == (part.start, there):
                before, begin = runs.pop()
                part, there = slice(before.start, part.stop), begin.start
            runs.append((part, slice(there, there + part.stop - part.start)))
        here += s.size
    return runs
