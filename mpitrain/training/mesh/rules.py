"""Rules of meshes and pipelines: which settings, schedules and models go together."""

import zlib

from ...balance_options import check_balance
from ...comm.axes import AXES
from ...comm.group import Group
from ...comm.mesh import Mesh
from ...comm.world import World
from ...config import Config
from ...errors import AgreedError, ScheduleError, UserError
from ...layers import BatchNorm2d, Layer
from ...layers.base import summing_layers
from ...parallel.pipeline.units import check_number, find_units
from ...pipelines import Program, check_for, find, make_program
from ...run_rules import EVERY_STEP


def make_mesh(config: Config, world: World, *, resumes: bool) -> Mesh:
    """Return the mesh of a config (collective).

    Parameters
    ----------
    resumes : bool
        Settings that were not given are those of the run that is continued.

    Raises
    ------
    AgreedError
        On all ranks, as ``Mesh``.
    """
    try:
        return Mesh(world, config.parallel.mesh or {"data": world.size})
    except AgreedError as error:
        if not resumes or world.elastic:
            raise
        raise AgreedError(f"{error}; give one as --mesh to continue the run on other ranks than before") from None


def check_mesh(config: Config, mesh: Mesh, *, resumes: bool) -> None:
    """Raise a UserError for settings that do not go with the mesh; those of a run that is continued are left out."""
    p = config.parallel
    check_balance(p.balance, mesh.sizes["data"])
    other = next((axis for axis in ("pipe", "expert") if mesh.sizes[axis] > 1), "")
    if other and p.shard in ("gradients", "weights"):
        instead = "none" if mesh.sizes["expert"] > 1 else "optimizer"
        raise UserError(f"--shard {p.shard} does not go with axis {other} yet: take --shard {instead}")
    _check_division(config, mesh)
    if mesh.sizes["context"] == 1 and not resumes and p.context != Config().parallel.context:
        raise UserError("--context is for axis context: give its number of ranks, as in --mesh context=2")
    if p.sequence_parallel and mesh.sizes["tensor"] == 1 and not resumes:
        raise UserError("--sequence-parallel is for axis tensor: give its number of ranks, as in --mesh tensor=2")
    if mesh.sizes["pipe"] == 1:
        if resumes:
            return
        for option, value, default in (
            ("--stages", p.stages, ""),
            ("--pipeline", p.pipeline, Config().parallel.pipeline),
            ("--channel", p.channel, Config().parallel.channel),
        ):
            if value != default:
                raise UserError(f"{option} is for a pipeline: give its number of ranks, as in --mesh pipe=2")
    elif p.sync != EVERY_STEP:
        raise UserError(f"--sync {p.sync} needs the whole model on every rank: leave --mesh pipe out")
    elif p.elastic:
        raise UserError("ranks with a part of the model cannot be lost yet: --elastic needs all ranks on axis data")
    elif p.compress != "none":
        raise UserError("--compress does not go with a pipeline yet: only its last stage knows the weight of a step")
    elif p.gradient_hook:
        raise UserError("--gradient-hook does not go with a pipeline yet: its check needs the sums of all stages")
    elif config.compute.cuda_graph == "on":
        raise UserError("--cuda-graph does not go with a pipeline, whose messages come between the layers")
    elif p.balance == "dynamic":
        raise UserError("--balance dynamic does not go with a pipeline, whose ranks have different work")
    elif p.balance == "auto" and p.stages:
        raise UserError(
            "--balance auto cuts the stages of a pipeline by speed, and --stages by hand: leave one of them out"
        )
    elif p.channel == "nccl" and p.all_reduce == "nccl" and mesh.sizes["data"] > 1:
        raise UserError(
            "--channel nccl does not go with --all-reduce nccl over axis data: NCCL may hang where sums and messages "
            "come in different orders on different ranks"
        )


def _check_division(config: Config, mesh: Mesh) -> None:
    """Raise a UserError for settings that do not go with axes within the layers."""
    p = config.parallel
    axis = next((axis for axis in AXES if axis not in ("data", "pipe") and mesh.sizes[axis] > 1), "")
    for option, value, default, reason in (
        ("--sync", p.sync, EVERY_STEP, "needs the whole model on every rank"),
        ("--elastic", p.elastic, False, "needs the whole model on every rank"),
        (
            "--reproducible",
            p.reproducible,
            0,
            "adds in the order of one rank, parts of layers do not",
        ),
        ("--gradient-hook", p.gradient_hook, "", "is for ranks with the same parameters"),
        ("--balance", p.balance, "off", "is for ranks with the same work"),
        ("--cuda-graph", config.compute.cuda_graph == "on", False, "has no messages between the layers"),
        ("--compress", axis == "expert" and p.compress != "none", False, "is for ranks with the same parameters"),
    ):
        if axis and value != default:
            raise UserError(f"{option} does not go with axis {axis} of the mesh: it {reason}")


def check_dynamic(model: Layer, group: Group) -> None:
    """Raise a UserError if the ranks of ``group`` cannot hand out microbatches of ``model`` among themselves."""
    summing = [layer for layer in summing_layers(model) if layer.sum_over_ranks is not None]
    if any(isinstance(layer, BatchNorm2d) for layer in summing):
        raise UserError(
            "--balance dynamic does not go with batch statistics over all ranks, which would wait for each other: "
            "--batch-norm local takes them over each microbatch"
        )
    if summing:
        raise UserError(
            "--balance dynamic does not go with tokens of experts that are counted over all ranks, which would wait "
            "for each other: take balance=none of the model"
        )
    if reason := group.why_not_share(8):
        raise UserError(f"--balance dynamic needs ranks that share memory: {reason}")


def make_checked_program(name: str, size: int, num_microbatches: int, *, checks: bool) -> Program:
    """Return the program of a schedule; one of the ranks checks it."""
    pipeline = find(name)
    try:
        if checks:
            check_for(pipeline, size, num_microbatches)
        return make_program(pipeline, size, num_microbatches, name)
    except ScheduleError as error:
        raise UserError(f"the pipeline {name} is wrong for {error}") from None


def compare_programs(world: World, program: Program) -> None:
    """Raise an AgreedError if a user's schedule yields other tasks on other ranks."""
    found = world.all_gather(zlib.crc32(repr(program.tasks).encode()))
    for rank, tasks in enumerate(found):
        if tasks != found[0]:
            raise AgreedError(
                f"the pipeline {program.name} yields other tasks on {world.name_of(rank)} than on {world.name_of(0)}: "
                "they may depend on the rank, the size and the number of microbatches only"
            )


def check_model(config: Config, model: Layer, program: Program) -> None:
    """Raise a UserError if a model cannot be cut and run as the config asks for."""
    check_number(len(find_units(model)), program.num_stages)
    if config.parallel.reproducible:
        if summing := summing_layers(model):
            what = "batch normalization" if isinstance(summing[0], BatchNorm2d) else "the routers of experts"
            raise UserError(
                f"--reproducible takes the statistics of {what} over all microbatches of a step at once, "
                "but in a pipeline these come one after the other"
            )
        if len({id(p) for _, p in model.named_parameters()}) < len(list(model.named_parameters())):
            raise UserError("--reproducible does not go with a pipeline whose stages share weights")
        if not program.is_in_order:
            raise UserError(
                f"--reproducible adds gradients in the order of microbatches, but {program.name} computes them in "
                "another one"
            )
