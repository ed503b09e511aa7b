"""Placement of a model: the part of it that each rank of a mesh has, and the memory of that part."""

from collections.abc import Callable
from typing import NamedTuple

from ...arena import Arena
from ...comm.group import Group
from ...comm.mesh import Mesh
from ...comm.node.window_all_reduce import SharedDevice
from ...comm.world import World
from ...config import Config
from ...data.dataset import Dataset
from ...device import CPU, Device
from ...layers import Layer
from ...model_table import ModelTable
from ...parallel.divide import check as check_division
from ...parallel.divide import divide, options_of
from ...parallel.division import Division
from ...parallel.roles import Roles
from ..devices import choose_activations, use_devices_in
from .pipeline import PipelineSetup, open_pipeline, recompute
from .row_gradients import keep_rows


class PlacedModel(NamedTuple):
    """The part of a model that a rank has; attributes are those of ``TrainingSetup``."""

    model: Layer
    arena: Arena
    roles: Roles | None
    pipeline: PipelineSetup | None
    division: Division | None


def place_model(
    config: Config, world: World, mesh: Mesh, model: Layer, dataset: Dataset, device: Device, *, divided: bool = False
) -> PlacedModel:
    """Return this rank's part of a prepared model without memory, bound to an arena (collective).

    Parameters
    ----------
    divided : bool
        With --shard weights, give the arena this rank's part of the values only.

    Raises
    ------
    AgreedError
        On all ranks, if the mesh cannot divide the model.
    """
    choose_activations(device, mesh, world)
    roles, pipeline, division, whole = Roles(mesh), None, None, ModelTable.of(model)
    if roles.divides_layers:
        with world.together():
            check_division(model, mesh.sizes, dataset.input_shape, options_of(config.parallel))
    if mesh.sizes["pipe"] > 1:
        pipeline = open_pipeline(config, world, mesh, model, dataset, device)
        model, division = pipeline.stages.model, pipeline.division
    elif roles.divides_layers:
        use_devices_in(mesh, world)
        division = divide(model, mesh, dataset.input_shape, options_of(config.parallel))
        model = division.model
    if pipeline is None and config.compute.recompute != "off":
        with world.together():
            model = recompute(model, config.compute.recompute)
    with world.together():
        keep_rows(config, mesh, model, device)
    arena = Arena(
        model.named_parameters(),
        model.named_states(),
        seed=config.run.seed,
        device=device,
        whole=whole,
        gradient_device=_gradient_device(config, roles, model, device),
        divide=_kept_values(config, roles, model, device) if divided else None,
    )
    return PlacedModel(model, arena, roles if roles.divides_model else None, pipeline, division)


def _gradient_device(config: Config, roles: Roles, model: Layer, device: Device) -> Device | None:
    """Return the device of the gradients if it is not that of the weights: memory shared by the ranks to sum them."""
    group = roles.sums
    if device is not CPU or group.has_devices or roles.same.size < group.size:
        return None
    num_bytes = 4 * sum(p.size for _, p in model.named_parameters() if not (p.frozen or p.by_rows))
    all_reduce, shard = config.parallel.all_reduce, config.parallel.shard  # where weights are sharded, the arena moves
    other = config.parallel.compress != "none" or config.parallel.gradient_hook
    automatic = all_reduce == "auto" and shard == "none" and not other
    shared = automatic and group.choose(num_bytes).name == "shared"
    if all_reduce == "shared":
        shared = shard not in ("gradients", "weights")
    return SharedDevice(group) if shared and not config.parallel.reproducible else None


def _kept_values(config: Config, roles: Roles, model: Layer, device: Device) -> Callable[[Arena], list[slice]] | None:
    """Return the function that says which values this rank keeps with --shard weights; None for all (collective)."""
    group = roles.sums
    if config.parallel.shard != "weights" or group.size == 1 or device is not CPU or group.has_devices:
        return None
    from ...parallel.pieces import UNIT_BYTES, cut_pieces

    unit_bytes = min(UNIT_BYTES, bucket_bytes_of(config, group))
    return lambda arena: [piece.share(group.size, group.rank) for piece in cut_pieces(model, arena, unit_bytes)]


def bucket_bytes_of(config: Config, group: Group) -> int:
    """Return the bytes of a bucket of gradients (collective)."""
    return int(config.parallel.bucket_mb * 2**20) or group.choose_bucket_bytes()
