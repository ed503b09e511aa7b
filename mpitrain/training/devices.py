"""Choice of a device for each rank (collective)."""

from collections.abc import Iterable
from typing import Any

from .. import ops
from ..comm.measure.cuda_aware import Trial, find_trial
from ..comm.mesh import Mesh
from ..comm.schedule.staging import HOST, DirectStaging, HostStaging, Staging
from ..comm.world import World
from ..config import Compute, Config
from ..device import CPU, Device, assign, discover, notes, open_device
from ..errors import UserError

PRECISIONS = ("fp32", "tf32", "bf16")  # the most exact first


def take_device(config: Config, world: World, *, or_fp32: bool = False) -> Device:
    """Return the device of this rank, and register with ``world`` how its buffers are sent.

    Parameters
    ----------
    or_fp32 : bool
        Compute in fp32 where there is no GPU, whatever the precision.

    Raises
    ------
    AgreedError
        On all ranks: if GPUs were asked for and there are none, or what only a GPU or only a CPU can do.
    """
    settings = config.compute
    sights = world.all_gather(discover(settings.device, world.node))
    slot = None if world.outer is None else world.outer.gpu_slot
    places = assign(sights) if slot is None else world.all_gather(slot)
    with world.together():
        world.notes += notes(settings.device, sights, places)
        if settings.precision != "fp32" and not or_fp32 and all(place.number is None for place in places):
            raise UserError(f"--precision {settings.precision} needs a GPU: the CPU computes in fp32")
        if settings.cuda_graph == "on" and all(place.number is None for place in places):
            raise UserError("--cuda-graph on needs a GPU")
        if config.parallel.reproducible and any(place.number is not None for place in places):
            raise UserError("--reproducible is for CPUs, since GPUs sum in another order: take --device cpu")
        if config.parallel.elastic and any(place.number is not None for place in places):
            raise UserError("--elastic is for CPUs so far: take --device cpu")
        device = open_device(places[world.rank], settings.precision)
    use_device(device, world, offers_nccl=not config.parallel.mesh)
    return device


def take_device_for_runs(device: str, precision: str, trained: Iterable[str], world: World) -> Device:
    """Return the device of this rank for finished runs, as ``take_device``.

    Parameters
    ----------
    device : str
        As in ``--device``.
    precision : str
        As in ``--precision``; or auto: on GPUs that of the training, the most exact where runs differ.
    trained : iterable of str
        The precision in which each run was trained.
    """
    if precision != "auto":
        return take_device(_computing(device, precision), world)
    return take_device(_computing(device, min(trained, key=PRECISIONS.index)), world, or_fp32=True)


def _computing(device: Any, precision: Any) -> Config:
    return Config(compute=Compute(device=device, precision=precision))


def share_devices(config: Config, world: World) -> None:
    """Give each rank of a job the GPU that it has in all parts of the job (collective)."""
    sights = world.all_gather(discover(config.compute.device, world.node))
    world.gpu_slot = assign(sights)[world.rank]


def use_device(device: Device, world: World, *, offers_nccl: bool = False) -> None:
    """Register with ``world`` that this rank's gradients are on ``device`` (collective).

    With ``offers_nccl``, ``auto`` may sum them by NCCL, which no other message of the run may use then.
    """
    staging: Staging = HOST
    if any(world.all_gather(device is not CPU)):
        trial = find_trial(world, device)
        if device is not CPU:
            staging = _staging_of(device, trial)
    world.use_staging(staging, offers_nccl=offers_nccl)


def choose_activations(device: Device, mesh: Mesh, world: World) -> None:
    """Keep activations in fp32 where ranks send them to each other and some compute on a CPU, which has no bf16."""
    if device is CPU:
        return
    sends = any(size > 1 for axis, size in mesh.sizes.items() if axis != "data")
    device.fp32_activations = sends and world.group("data").mixed
    if device.fp32_activations and device.precision == "bf16":
        world.notes.append(
            "activations stay in fp32, since ranks have parts of the model or of the samples and some compute on CPUs: "
            "bf16 is the precision of products alone"
        )


def use_devices_in(mesh: Mesh, world: World) -> None:
    """Let the groups of a mesh send buffers as those of the world are sent (collective)."""
    ranks = world.group("data")
    if not ranks.has_devices:
        return
    axes = [axis for axis, size in mesh.sizes.items() if size > 1]
    for group in (
        mesh.over("data", "space", "context", "expert"),
        mesh.over("data", "space", "context"),
        *map(mesh.over, axes),
    ):
        group.use_staging(ranks.staging)


def _staging_of(device: Device, trial: Trial) -> Staging:
    combine, direct_bytes = ops.cuda.elementwise.combine, trial.direct_bytes
    staging = DirectStaging(device, combine, direct_bytes) if direct_bytes else HostStaging(device, combine)
    staging.may_try = not trial.failed
    return staging
