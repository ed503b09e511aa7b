"""The book of a sweep: its state on this rank, its log that all ranks share, and the file that keeps it."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...comm.shared_log import SharedLog
from ...comm.world import World
from ...sweeps.journal import Journal, decode, encode
from ...sweeps.state import RUNNING, Event, SweepState
from ...sweeps.work import Work

STOP = 0  # the flag that is set to end the sweep; the groups' own follow
MOST_BYTES, USUAL_BYTES = 1200, 500  # of an event
EVENTS_OF_A_TRIAL = 4  # in one job; another job begins with an empty log
NAP, LONGEST_NAP = 0.005, 0.2  # seconds between two looks for work


class Book:
    """Events of a sweep, written and read by all ranks.

    Parameters
    ----------
    world : World
        All ranks make it together.
    state : SweepState
        Without events.
    path : Path
        The journal; it is complete to its last line.
    past : list of Event
        The events in it.
    parts : int
        Number of groups.
    events : int
        Number of events that may follow for each trial.
    """

    def __init__(
        self, world: World, state: SweepState, path: Path, past: list[Event], *, parts: int, events: int
    ) -> None:
        self.state = state
        state.apply(past)
        capacity = USUAL_BYTES * (100 + len(state.trials) * events)
        self._log, self._journal = SharedLog(world._comm, capacity, 1 + parts), Journal(path)
        if world.rank == 0:
            with self._log.turn():
                self.write({"event": "open", "time": now(), "ranks": world.size})
        world.barrier()
        self.catch_up()

    def catch_up(self) -> None:
        """Read the events that other ranks have written."""
        self.state.apply(decode(line) for line in self._log.read())

    def write(self, event: Event) -> None:
        """Write an event, on the disk first; in turn, after ``catch_up``."""
        line = encode(event)
        if len(line) > MOST_BYTES:
            line = encode({**event, "reason": str(event.get("reason", ""))[:300], "scores": {}, "test": {}})
        self._journal.append(line)
        self._log.append(line)
        self.state.apply([decode(line)])

    def take(
        self,
        decide: Callable[[SweepState], Work | str],
        begin: Callable[[Work], tuple[Work, Event]],
        asked_to_stop: Callable[[], bool],
    ) -> Work | None:
        """Return the next work of this group, which has begun then; None if there is none any more.

        Parameters
        ----------
        begin : callable(Work) -> (Work, Event)
            Prepares the work, while no other rank takes one; returns it, maybe changed, and its event.
        asked_to_stop : callable() -> bool
            Whether this rank was asked to end the sweep.
        """
        nap = NAP
        while not self.stopping:
            if asked_to_stop():
                self.stop()
                return None
            with self._log.turn():
                self.catch_up()
                work = decide(self.state)
                if isinstance(work, Work):
                    work, event = begin(work)
                    self.write(event)
                    return work
            if work == "done":
                return None
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)
        return None

    def end(self, event: dict[str, Any]) -> bool:
        """Write the end of a trial; return False if another rank of its group has done so."""
        with self._log.turn():
            self.catch_up()
            if self.state.trials[event["trial"]].status != RUNNING:
                return False
            self.write(event)
        return True

    @property
    def stopping(self) -> bool:
        """True if some rank has asked for the end of the sweep."""
        return self._log.get(STOP) != 0

    def stop(self) -> None:
        """Ask for the end of the sweep on all ranks."""
        self._log.set(STOP, 1)

    def fail(self, part: int, token: int) -> None:
        """Tell the ranks of a group that one of them has failed in the work of that number."""
        self._log.set(1 + part, token)

    def has_failed(self, part: int, token: int) -> bool:
        """Return whether a rank of a group has failed in the work of that number."""
        return self._log.get(1 + part) == token

    def close(self) -> None:
        """Wait asleep until all ranks have ended, and close the log."""
        self._log.free()
        self._journal.close()


def now() -> float:
    """Return the time of day, to the millisecond."""
    return round(time.time(), 3)


def finite(value: float) -> float | None:
    """Return a number, None for NaN."""
    return None if math.isnan(value) else value
