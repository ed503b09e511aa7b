"""Work on data that is done once before they are opened, divided among the ranks."""

import sys
import time

from ..comm.world import World
from ..data.sources import units_of

PATIENCE = 5.0  # seconds between two lines on the progress


def prepare(world: World, source: str) -> None:
    """Do this rank's share of the work that a source needs before it is opened (collective).

    What is left, on a node with a cache of its own, is done by each rank when it opens the source.

    Raises
    ------
    AgreedError
        On all ranks, if the data of any part are damaged, or the cache cannot be written.
    """
    with world.together():
        units = units_of(source)
    steps = max(world.all_gather(len(units)))  # a node with a cache of its own may lack more
    progress = _Progress(steps, speaks=world.rank == 0)
    for first in range(0, steps, world.size):  # no rank waits for longer than a unit of another takes
        with world.together(asleep=True):
            for unit in units[first + world.rank : first + world.rank + 1]:
                unit.run()
        progress.done(first + world.size)


class _Progress:
    """Lines on standard error about work that takes long."""

    def __init__(self, steps: int, *, speaks: bool):
        self._steps, self._speaks = steps, speaks
        self._began = self._said = time.monotonic()

    def done(self, steps: int) -> None:
        """Say how much is done, unless that was said a moment ago."""
        now = time.monotonic()
        if not self._speaks or steps >= self._steps or now - self._said < PATIENCE:
            return
        self._said = now
        left = (now - self._began) * (self._steps / steps - 1)
        text = f"the data are prepared, once: {100 * steps / self._steps:.0f}%, {max(1, round(left)):,} s left"
        print(f"mpitrain: {text}", file=sys.stderr, flush=True)
