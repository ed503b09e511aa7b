"""The pipeline of a run: its mesh, its schedule, the stages of the model, and the channel between them."""

import math
import os
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arena import Arena
from ..comm.channel import Channel
from ..comm.group import Group
from ..comm.mesh import Mesh
from ..comm.world import World
from ..config import Config
from ..data.dataset import Dataset
from ..device import Device
from ..errors import AgreedError, ScheduleError, UserError
from ..layers import BatchNorm2d, Layer, Recompute, Sequential, Unit
from ..parallel.data import model_difference
from ..parallel.pipeline.cut import Cut, cut_stages, make_cut
from ..parallel.pipeline.demand import stage_demands
from ..parallel.pipeline.measure import measure_units
from ..parallel.pipeline.recompute import recomputed
from ..parallel.pipeline.stages import Stages
from ..parallel.pipeline.tables import Recomputed
from ..parallel.pipeline.unit_cost import UnitCost
from ..parallel.pipeline.units import check_number, find_units, parse_stages
from ..pipelines import Program, check_for, find, make_program
from ..pipelines.idle import CAUSES
from ..pipelines.price import Prediction, predict_program
from ..plain_text import count
from . import limits
from .recipe import make_optimizer


@dataclass(frozen=True, eq=False)
class PipelineSetup:
    """The pipeline of a run, as one of its ranks has it.

    Attributes
    ----------
    mesh : Mesh
    stages : Stages
    units : list of Unit
        Of the whole model.
    costs : list of UnitCost
        Of each unit, as rank 0 has measured them.
    cut : Cut
    channel : Channel
        Between the ranks of the pipeline.
    """

    mesh: Mesh
    stages: Stages
    units: list[Unit]
    costs: list[UnitCost]
    cut: Cut
    channel: Channel

    @property
    def data(self) -> Group:
        """The ranks with the same stages, which divide the samples."""
        return self.mesh["data"]

    @property
    def pipe(self) -> Group:
        """The ranks of this pipeline."""
        return self.mesh["pipe"]

    @property
    def microbatches(self) -> int:
        """Microbatches of a step."""
        return self.stages.program.num_microbatches

    def predict(self) -> Prediction:
        """Return the prediction of a step from the measured times of the stages, where messages take no time."""
        program = self.stages.program
        return predict_program(program, self.cut.costs().durations(program), in_seconds=True)

    def describe(self) -> list[str]:
        """Return lines on the mesh, the schedule and the stages."""
        program, prediction = self.stages.program, self.predict()
        price = prediction.price
        causes = ", ".join(f"{cause} {getattr(price, cause):.0%}" for cause in CAUSES if getattr(price, cause) >= 0.005)
        idle = f"ranks idle for {price.bubble:.0%} of a step{causes and f' ({causes})'}"
        parts = f"{count(program.num_stages, 'stage')}, {count(program.num_microbatches, 'microbatch')}"
        return [
            self.mesh.placement,
            f"pipeline {program.name}: {parts} a step; predicted {prediction.say_time(price.step)} a step, {idle}",
            self.cut.report(),
        ]


def open_pipeline(
    config: Config, world: World, mesh: Mesh, model: Layer, dataset: Dataset, device: Device
) -> PipelineSetup:
    """Return the pipeline of a run (collective).

    Parameters
    ----------
    mesh : Mesh
        With several ranks on axis pipe.
    model : Layer
        The whole model, prepared.
    device : Device
        Where this rank computes.

    Raises
    ------
    AgreedError
        On all ranks, for a schedule that is wrong, or a model that cannot be cut as it is asked for.
    """
    everyone = [(name, p.shape) for name, p in model.named_parameters()]
    if problem := model_difference(world, everyone):
        raise AgreedError(problem, code=1)
    size, num_microbatches = mesh.sizes["pipe"], _num_microbatches(config, mesh, len(dataset.train))
    with world.together():
        program = _make_program(config.parallel.pipeline, size, num_microbatches, checks=world.rank == 0)
        units = _units(config, model, program)
    _compare_programs(world, program)
    samples = math.ceil(min(config.data.batch_size, len(dataset.train)) / (mesh.sizes["data"] * num_microbatches))
    costs, cut = _cut(config, world, model, program, dataset, samples, device)
    rank = mesh["pipe"].rank
    sample = np.zeros((1, *dataset.input_shape), np.float32)
    stages = Stages(units, cut.stops, program, rank, sample, device, config.compute.recompute)
    staging = world.group("data").staging
    for group in (mesh["data"], mesh["pipe"]):
        group.use_staging(staging)
    return PipelineSetup(mesh, stages, units, costs, cut, Channel(mesh["pipe"]))


def check_mesh(config: Config, mesh: Mesh) -> None:
    """Raise a UserError for settings that do not go with the mesh."""
    p = config.parallel
    if mesh.sizes["pipe"] == 1:
        for option, value, default in (
            ("--stages", p.stages, ""),
            ("--pipeline", p.pipeline, Config().parallel.pipeline),
        ):
            if value != default:
                raise UserError(f"{option} is for a pipeline: give its number of ranks, as in --mesh pipe=2")
    elif config.compute.cuda_graph == "on":
        raise UserError("--cuda-graph does not go with a pipeline, whose messages come between the layers")


def memory_of_a_rank(world: World) -> float:
    """Return the bytes of memory that a rank has where all ranks of its node get equally much."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / world.node_size


def recompute(model: Layer, how: Recomputed) -> Layer:
    """Return a model that computes again in backward what it does not keep; see ``--recompute``."""
    if how == "stage" and not isinstance(model, Sequential):
        return Recompute(model)
    return recomputed(find_units(model, shared=True), how)


def _num_microbatches(config: Config, mesh: Mesh, num_samples: int) -> int:
    shards = limits.num_shards(config, num_samples, mesh.sizes["data"])
    return shards // mesh.sizes["data"] or limits.num_microbatches(config, num_samples, mesh.sizes["pipe"])


def _make_program(name: str, size: int, num_microbatches: int, *, checks: bool) -> Program:
    """Return the program of a schedule; one of the ranks checks it."""
    pipeline = find(name)
    try:
        if checks:
            check_for(pipeline, size, num_microbatches)
        return make_program(pipeline, size, num_microbatches, name)
    except ScheduleError as error:
        raise UserError(f"the pipeline {name} is wrong for {error}") from None


def _compare_programs(world: World, program: Program) -> None:
    """Raise an AgreedError if a user's schedule yields other tasks on other ranks."""
    found = world.all_gather(zlib.crc32(repr(program.tasks).encode()))
    for rank, tasks in enumerate(found):
        if tasks != found[0]:
            raise AgreedError(
                f"the pipeline {program.name} yields other tasks on {world.name_of(rank)} than on {world.name_of(0)}: "
                "they may depend on the rank, the size and the number of microbatches only"
            )


def _units(config: Config, model: Layer, program: Program) -> list[Unit]:
    """Return the units of a model that can be cut and run as the config asks for."""
    units = find_units(model)
    check_number(len(units), program.num_stages)
    if config.parallel.reproducible:
        if any(isinstance(layer, BatchNorm2d) for layer in model.layers()):
            raise UserError(
                "--reproducible takes the statistics of batch normalization over all microbatches of a step at once, "
                "but in a pipeline these come one after the other"
            )
        if not program.is_in_order:
            raise UserError(
                f"--reproducible adds gradients in the order of microbatches, but {program.name} computes them in "
                "another one"
            )
    return units


def _cut(
    config: Config,
    world: World,
    model: Layer,
    program: Program,
    dataset: Dataset,
    samples: int,
    device: Device,
) -> tuple[list[UnitCost], Cut]:
    """Return the costs of all units, which rank 0 measures, and the cut of the config or the best one by these."""
    costs, cut = None, None
    with world.together(asleep=True):  # ranks that wait awake would take half of rank 0's core where cores are short
        if world.rank == 0:
            costs, demands = measure_units(model, dataset.input_shape, samples, device=device), stage_demands(program)
            slots = len(make_optimizer(config.optimizer, Arena([])).slots)
            how: Any = {"slots": slots, "recompute": config.compute.recompute}
            if config.parallel.stages:
                starts = parse_stages(config.parallel.stages, len(costs), program.num_stages)
                cut = make_cut(costs, demands, starts, **how)
            else:
                cut = cut_stages(costs, demands, memory_of_a_rank(world), **how)
    found: tuple[list[UnitCost], Cut] = world.all_gather((costs, cut))[0]
    return found
