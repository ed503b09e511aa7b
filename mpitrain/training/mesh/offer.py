"""Meshes that a training can take, by the rules that it asks when it begins."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from ...comm.mesh import Mesh
from ...comm.world import World
from ...config import Config
from ...data.dataset import Dataset
from ...errors import UserError
from ...layers import Layer, Sequential
from ...parallel.divide import AXES as DIVIDED
from ...parallel.divide import check as check_division
from ...parallel.divide import options_of
from ...parallel.make_sync import SHARDS
from ...pipelines import PIPELINES
from ...planning import Strategy, Wish
from ..limits import num_microbatches
from .rules import check_mesh, check_model, make_checked_program


def wish_of(config: Config, dataset: Dataset, model: Layer, world: World) -> Wish:
    """Return what training can do with this model and these settings; the rules of each axis decide."""
    parallel, default = config.parallel, Config().parallel
    schedules: tuple[tuple[str, int], ...] = (("1f1b", 1), ("interleaved", 2), ("zb_h1", 1))
    if parallel.pipeline != default.pipeline:
        schedules = ((parallel.pipeline.partition(":")[0], int(_chunks(parallel.pipeline))),)
    known: dict[tuple[Any, ...], bool] = {}

    def allows(strategy: Strategy) -> bool:
        if strategy.pipe == 1 and strategy.microbatches != num_microbatches(config, len(dataset.train)):
            return False
        m = strategy.microbatches if strategy.pipe > 1 else 0
        key = (strategy.mesh_text, strategy.schedule_text, m, strategy.shard)
        if key not in known:
            known[key] = _allows(config, dataset, model, strategy)
        return known[key]

    axes = ("data", "pipe", *DIVIDED) if isinstance(model, Sequential) else ("data", *DIVIDED)
    return Wish(
        axes=axes,
        schedules=schedules,
        shards=_shards(config, world),
        agains=(config.compute.recompute,),
        sequence=parallel.sequence_parallel,
        microbatches=config.optimizer.accumulate,
        allows=allows,
    )


def _shards(config: Config, world: World) -> tuple[int, ...]:
    """Return the stages of ZeRO to choose from: the one that is given; for auto its own, and those with less memory."""
    given = config.parallel.shard
    if given != "auto":
        return (0 if given == "none" else 1 + SHARDS.index(given),)
    if world.has_devices:
        return (0,)
    return (1 if world.node_size == world.size and config.parallel.all_reduce == "auto" else 0, 2, 3)


def _chunks(text: str) -> int:
    function, _, given = PIPELINES.find(text)
    return int(({option.name: option.default for option in PIPELINES.options(function)} | given).get("chunks", 1))


def _allows(config: Config, dataset: Dataset, model: Layer, strategy: Strategy) -> bool:
    """Return whether training takes a strategy, by the rules that it asks when it begins."""
    sizes = {axis: getattr(strategy, axis) for axis in ("data", "pipe", "space", "context", "tensor", "expert")}
    made = with_strategy(config, strategy)
    checks: list[Callable[[], None]] = [
        lambda: check_mesh(made, cast(Mesh, SimpleNamespace(sizes=sizes)), resumes=False),
        lambda: check_division(model, sizes, dataset.input_shape, options_of(made.parallel)),
    ]
    if strategy.pipe > 1:
        m = strategy.microbatches
        checks.append(
            lambda: check_model(
                made, model, make_checked_program(made.parallel.pipeline, strategy.pipe, m, checks=False)
            )
        )
    try:
        for check in checks:
            check()
    except UserError:
        return False
    return True


def with_strategy(config: Config, strategy: Strategy) -> Config:
    """Return the config that trains by a strategy."""
    parallel = dataclasses.replace(config.parallel, mesh=strategy.mesh_text)
    if parallel.shard == "auto" and strategy.shard > 1:
        shard: Any = SHARDS[strategy.shard - 1]
        parallel = dataclasses.replace(parallel, shard=shard)
    optimizer = config.optimizer
    if strategy.pipe > 1:
        parallel = dataclasses.replace(parallel, pipeline=strategy.schedule_text)
        optimizer = dataclasses.replace(optimizer, accumulate=strategy.microbatches)
    return dataclasses.replace(config, parallel=parallel, optimizer=optimizer)
