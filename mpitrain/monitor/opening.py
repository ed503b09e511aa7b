"""The monitors of a run, from their texts (``--monitor``)."""

from ..comm.world import World
from ..config import Run
from ..errors import UserError
from ..training.hooks import Hook
from .base import Monitor


def open_monitors(settings: Run, world: World, *, has_directory: bool) -> list[Hook]:
    """Return the hook of all monitors of a run, or nothing where it has none (collective).

    Parameters
    ----------
    has_directory : bool
        Whether the run will have a directory.

    Raises
    ------
    AgreedError
        On all ranks, for an unknown monitor or option, a missing package, or a place that cannot be written.
    """
    if not settings.monitor:
        return []
    from .guard import Monitors
    from .registry import make_monitors

    with world.together():
        monitors = make_monitors(settings.monitor)
        if world.rank == 0:
            for name, monitor in monitors:
                _check(name, monitor, has_directory)
    return [Monitors(monitors)]


def _check(name: str, monitor: Hook, has_directory: bool) -> None:
    if not isinstance(monitor, Monitor):
        return
    try:
        monitor.check(has_directory)
    except UserError as error:
        raise UserError(f"the monitor {name}: {error}") from None
