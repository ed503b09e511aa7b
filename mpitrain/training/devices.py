"""A device for each rank, decided by all of them together."""

from ..comm.staging import HOST, HostStaging
from ..comm.world import World
from ..config import Compute
from ..device import CPU, Device, assign, look, notes, open_device
from ..errors import UserError


def take_device(settings: Compute, world: World) -> Device:
    """Return what this rank computes on, and tell ``world`` how buffers there are reached.

    Raises
    ------
    AgreedError
        On all ranks: if GPUs were asked for and there are none, or a precision that only a GPU has.
    """
    sights = world.all_gather(look(settings.device, world.node))
    places = assign(sights)
    with world.together():
        world.notes += notes(settings.device, sights, places)
        if settings.precision != "fp32" and all(place.number is None for place in places):
            raise UserError(f"--precision {settings.precision} needs a GPU: the CPU computes in fp32")
        device = open_device(places[world.rank], settings.precision)
    use_device(device, world)
    return device


def use_device(device: Device, world: World) -> None:
    """Tell ``world`` that this rank's gradients are on ``device``; all ranks call it together."""
    world.use_staging(HOST if device is CPU else HostStaging(device))
