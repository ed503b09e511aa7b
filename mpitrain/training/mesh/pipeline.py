"""The pipeline of a run: its mesh, its schedule, the stages of the model, and the channel between them."""

import functools
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...arena import Arena
from ...collectives.price import calibration_path, load_calibration
from ...comm.channel import Channel
from ...comm.group import Group
from ...comm.mesh import Mesh
from ...comm.nccl_channel import check_nccl, open_nccl_channel
from ...comm.start import library_name
from ...comm.world import World
from ...config import Config
from ...data.dataset import Dataset
from ...device import Device
from ...errors import AgreedError, UserError
from ...layers import Layer, Recompute, Sequential, Unit
from ...layers.embedding import sample_dtype
from ...parallel.divide import Options, divide, free_plans, options_of
from ...parallel.division import Division
from ...parallel.pipeline.cut import Cut, cut_stages, make_cut
from ...parallel.pipeline.demand import stage_demands
from ...parallel.pipeline.measure import measure_units
from ...parallel.pipeline.recompute import recomputed
from ...parallel.pipeline.stages import Stages
from ...parallel.pipeline.tables import Recomputed
from ...parallel.pipeline.unit_cost import UnitCost
from ...parallel.pipeline.units import check_number, find_units, parse_stages
from ...parallel.weights_alike import model_difference
from ...pipelines import Program, find, make_program
from ...pipelines.idle import CAUSES
from ...pipelines.price import Prediction, make_link, predict_program
from ...pipelines.simulate import Link
from ...plain_text import count
from .. import limits
from ..devices import use_devices_in
from ..recipe import make_optimizer
from .rules import check_model, compare_programs, make_checked_program
from .speeds import measure_slowness

SAMPLES = 16  # by which forward passes are measured


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
    link : callable(sender, receiver), optional
        Times of a message, where ``mpitrain collective calibrate`` has measured them with as many ranks.
    division : Division or None
        The part of the layers of the whole model that ranks of one place in the pipeline have; None where it is all.
    """

    mesh: Mesh
    stages: Stages
    units: list[Unit]
    costs: list[UnitCost]
    cut: Cut
    channel: Channel
    link: Link | None = None
    division: Division | None = None

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
        """Return the prediction of a step from the measured times of the stages, and of messages if they are known."""
        program = self.stages.program
        return predict_program(program, self.cut.costs().durations(program), self.link, in_seconds=True)

    def describe(self) -> list[str]:
        """Return lines on the mesh, the schedule and the stages."""
        program, prediction = self.stages.program, self.predict()
        price = prediction.price
        causes = ", ".join(f"{cause} {getattr(price, cause):.0%}" for cause in CAUSES if getattr(price, cause) >= 0.005)
        without = "" if self.link is not None else " without messages"
        idle = f"ranks idle for {price.bubble:.0%} of it{causes and f' ({causes})'}"
        parts = f"{count(program.num_stages, 'stage')}, {count(program.num_microbatches, 'microbatch')}"
        return [
            self.mesh.placement,
            f"pipeline {program.name}: {parts} a step; predicted {prediction.say_time(price.step)}{without}, {idle}",
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
        On all ranks, for a schedule that is wrong, a model that cannot be cut as it is asked for, or GPUs that NCCL
        cannot join.
    """
    size, num_microbatches = mesh.sizes["pipe"], _num_microbatches(config, mesh, len(dataset.train))
    with world.together():
        program = make_checked_program(config.parallel.pipeline, size, num_microbatches, checks=world.rank == 0)
        check_model(config, model, program)
    compare_programs(world, program)
    by_nccl = config.parallel.channel == "nccl"
    if by_nccl:
        check_nccl(world, device, "--channel")
    num_shares = mesh.sizes["data"] * mesh.sizes["expert"]
    samples = math.ceil(min(config.data.batch_size, len(dataset.train)) / (num_shares * num_microbatches))

    demands = stage_demands(program)
    if config.parallel.balance == "auto":
        slowness = measure_slowness(world, mesh["pipe"], model, dataset.input_shape, samples, device)
        demands = [replace(demand, slowness=slowness[demand.rank]) for demand in demands]

    def cut() -> tuple[list[UnitCost], Cut]:
        costs = measure_units(model, dataset.input_shape, samples, device=device)
        how: Any = {
            "slots": len(make_optimizer(config.optimizer, Arena([])).slots),
            "recompute": config.compute.recompute,
        }
        if not config.parallel.stages:
            return costs, cut_stages(costs, demands, memory_of_a_rank(world), **how)
        starts = parse_stages(config.parallel.stages, len(costs), program.num_stages)
        return costs, make_cut(costs, demands, starts, **how)

    open_channel = functools.partial(open_nccl_channel, world, device) if by_nccl else Channel
    how = config.compute.recompute, open_channel, options_of(config.parallel)
    made = _open(world, mesh, model, program, dataset.input_shape, cut, device, *how)
    return replace(made, link=_find_link(made.stages, samples, world.size))


def open_forward_pipeline(
    world: World, mesh: Mesh, model: Layer, input_shape: tuple[int, ...], device: Device
) -> PipelineSetup:
    """Return a pipeline for evaluation and prediction only; see ``open_pipeline``."""
    with world.together():
        program = make_program(find("gpipe"), mesh.sizes["pipe"], 1, "forward")
        check_number(len(find_units(model)), program.num_stages)

    def cut() -> tuple[list[UnitCost], Cut]:
        costs = [replace(cost, dx=0.0, dw=0.0) for cost in measure_units(model, input_shape, SAMPLES, device=device)]
        return costs, cut_stages(costs, stage_demands(program), memory_of_a_rank(world), slots=0)

    return _open(world, mesh, model, program, input_shape, cut, device)


def _open(
    world: World,
    mesh: Mesh,
    model: Layer,
    program: Program,
    input_shape: tuple[int, ...],
    cut: Callable[[], tuple[list[UnitCost], Cut]],
    device: Device,
    recompute: Recomputed = "off",
    open_channel: Callable[[Group], Channel] = Channel,
    options: Options | None = None,
) -> PipelineSetup:
    """Return the pipeline of a model, for which rank 0 measures the costs of all units and calls ``cut``."""
    if problem := model_difference(world, [(name, p.shape) for name, p in model.named_parameters()]):
        raise AgreedError(problem, code=1)
    mine: Any = None
    with world.together(asleep=True):  # ranks that keep cores busy would slow down what is measured
        if world.rank == 0:
            mine = cut()
    costs, found = world.all_gather(mine)[0]
    use_devices_in(mesh, world)
    division = divide(model, mesh, input_shape, options)
    units, rank = find_units(division.model), mesh["pipe"].rank
    sample = np.zeros((1, *input_shape), sample_dtype(model))
    stages = Stages(units, found.stops, program, rank, sample, device, recompute)
    if world.group("data").has_devices:  # shapes were found on the host
        free_plans(division.model)
    world.ledger.name_stages(list(stages.own))
    return PipelineSetup(mesh, stages, units, costs, found, open_channel(mesh["pipe"]), division=division)


def _find_link(stages: Stages, samples: int, num_ranks: int) -> Link | None:
    """Return the times of messages between stages by the calibration of this machine; None without one."""
    try:
        calibration = load_calibration(calibration_path(platform.node(), library_name(), num_ranks))
    except UserError:  # there is none, or it is of another version
        return None
    longest = max(math.prod(border.shape) * border.dtype.itemsize for border in stages.borders[:-1])
    return make_link(calibration, samples * longest)


def memory_of_a_rank(world: World) -> float:
    """Return the bytes of memory that a rank has where all ranks of its node get equally much."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / world.node_size


def recompute(model: Layer, how: Recomputed) -> Layer:
    """Return a model that computes again in backward what it does not keep; see ``--recompute``."""
    if how == "stage" and not isinstance(model, Sequential):
        return Recompute(model)
    if not isinstance(model, Sequential):
        raise UserError(f"the model is a {model.kind}, not a Sequential of blocks: --recompute stage takes it as one")
    return recomputed(model.part(0, len(model.units())).units(), how)


def _num_microbatches(config: Config, mesh: Mesh, num_samples: int) -> int:
    shards = limits.num_shards(config, num_samples, mesh.sizes["data"])
    return shards // mesh.sizes["data"] or limits.num_microbatches(config, num_samples, mesh.sizes["pipe"])
