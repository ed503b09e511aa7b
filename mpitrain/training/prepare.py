"""Work on data that is done once before they are opened, divided among the ranks."""

from ..comm.world import World
from ..data.sources import units_of


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
    for first in range(0, len(units), world.size):  # no rank waits for longer than a unit of another takes
        with world.together(asleep=True):
            for unit in units[first + world.rank : first + world.rank + 1]:
                unit.run()
