"""``--mesh auto``: the mesh of a run by prices of measured layers and messages, then by a few steps of the best.

The best two are tried, and all ranks on axis data, if they are not among them: so the choice is no worse than that.

All ranks measure at the same time, rank 0 searches, and all take what it has found; so they agree.
"""

from typing import Any, cast

import numpy as np

from ... import models
from ...arena import Arena
from ...collectives.price import Calibration
from ...collectives.price.units import say_seconds
from ...comm.measure.calibrate import Calibrator
from ...comm.world import World
from ...config import Config
from ...data.dataset import LANGUAGE_MODELING, Dataset
from ...device import Device
from ...errors import UserError
from ...layers import Layer, Sequential
from ...losses import SoftmaxCrossEntropy
from ...models.outline import describe
from ...planning import PRECISIONS, Estimate, Estimator, Found, Machine, Strategy, search
from ...planning.estimate import Work
from ...planning.say import say_how, say_parts, say_size
from ..network import make_loss, make_model
from ..prepare import prepare
from ..recipe import make_optimizer
from ..setup import OwnParts, in_samples, open_samples
from .offer import wish_of, with_strategy
from .plan_here import find_calibration, measure_model, memory_speed, product_speed, this_machine
from .trial import time_mesh

AUTO = "auto"
NOTHING = OwnParts()
TRIED = 2
MESSAGE_BYTES = (64, 4096, 65536, 1 << 20, 1 << 22)
PASSES = 3  # over the messages
MEDIAN = 0.5


def with_mesh(config: Config, world: World, device: Device, own: OwnParts = NOTHING) -> Config:
    """Return ``config`` with the best mesh in place of ``auto``, and note the reasons in ``world.notes`` (collective).

    Raises
    ------
    AgreedError
        On all ranks, if the data or the model cannot be opened, or nothing fits into memory.
    """
    if config.parallel.mesh != AUTO:
        return config
    if world.size == 1:
        world.notes.append("--mesh auto: one rank has nothing to divide")
        return with_strategy(config, Strategy())
    dataset, model = _open(config, world, own)
    config_of_samples = in_samples(config, dataset)
    batch = min(config_of_samples.data.batch_size, len(dataset.train))
    facts = _measure(config_of_samples, world, device, dataset, model, batch)
    found: Any = None
    with world.together(asleep=True):
        if world.rank == 0:
            found = _search(config_of_samples, world, dataset, model, batch, facts)
    found = world.all_gather(found)[0]
    best = cast(list[Estimate], found[0])
    timed, notes = [], list(world.notes)
    if len(best) > 1:
        timed = [time_mesh(with_strategy(config, one.strategy), world, device, own, one.seconds) for one in best]
    world.notes[:] = notes  # without those of the meshes that were tried
    chosen = best[0]
    works = [(seconds, one) for (seconds, error), one in zip(timed, best, strict=False) if not error]
    if works:
        chosen = min(works, key=lambda row: row[0])[1]
    world.notes.extend(_say(best, timed, chosen, found[1]))
    return with_strategy(config, chosen.strategy)


def _open(config: Config, world: World, own: OwnParts) -> tuple[Dataset, Layer]:
    """Return data and model, which has no memory."""
    with world.together():
        source = config.data.source
    if own.data is None:
        prepare(world, source)
        if source.startswith("openml:"):
            with world.together():
                if world.rank == 0:
                    open_samples(config, source, None, own)
    with world.together():
        dataset = open_samples(config, source, None, own)
        model = make_model(config, dataset.input_shape, dataset.num_outputs, own.model, models.Codes.of(dataset))
    return dataset, model


def _measure(
    config: Config, world: World, device: Device, dataset: Dataset, model: Layer, batch: int
) -> dict[str, Any]:
    """Return speeds, times of units and messages: of the slowest rank, the same on all."""
    description = _describe(config, dataset, model)
    few, many = max(1, batch // (8 * world.size)), max(2, batch // world.size)
    mine: Any = None
    with world.together():
        loss = make_loss(dataset.task, 0.0)
        targets = None
        if isinstance(loss, SoftmaxCrossEntropy):
            rows = (many, *dataset.input_shape) if dataset.task == LANGUAGE_MODELING else (many,)
            targets = np.zeros(rows, np.int64)
        measured = None
        if isinstance(model, Sequential):
            given = None if targets is None else (loss, targets)
            measured = measure_model(model, description, dataset.input_shape, (few, many), loss=given, device=device)
        mine = product_speed(), memory_speed(), measured
    everyone = world.all_gather(mine)
    slowest = everyone[0] if everyone[0][2] is None else max(everyone, key=lambda row: _total(row[2]))
    return {
        "speed": min(row[0] for row in everyone),
        "bandwidth": min(row[1] for row in everyone),
        "measured": slowest[2],
        "calibration": _calibrate(world),
    }


def _total(measured: Any) -> float:
    return float(sum(line.at(1.0).all for line in measured.values()))


def _calibrate(world: World) -> Calibration | None:
    """Return the calibration of the messages: that of ``collective calibrate``, or one of a few lengths."""
    if world.oversubscribed:
        return None
    found = world.all_gather(find_calibration(world.size) if world.rank == 0 else None)[0]
    if found is not None:
        return cast(Calibration, found)
    calibrator = Calibrator(world)
    calibrator.restart(MESSAGE_BYTES)
    for _ in range(PASSES):
        calibrator.measure()
    return calibrator.result(MEDIAN)


def _describe(config: Config, dataset: Dataset, model: Layer) -> Any:
    return describe(model, dataset.input_shape, config.model.name, tokens=bool(dataset.vocabulary))


def _search(
    config: Config, world: World, dataset: Dataset, model: Layer, batch: int, facts: dict[str, Any]
) -> tuple[list[Estimate], str]:
    """Return the best strategies, and a line on the search; raise a UserError if none fits."""
    machine = _machine(world, facts)
    slots = len(make_optimizer(config.optimizer, Arena([])).slots)
    work = Work(batch, PRECISIONS["fp32"], float(slots))
    description = _describe(config, dataset, model)
    quick, exact = (Estimator(description, machine, work, facts["measured"], exact=way) for way in (False, True))
    found = search(quick, exact, world.size, wish_of(config, dataset, model, world))
    if not found.best:
        raise UserError(_refusal(found, machine))
    tried = found.best[:TRIED]
    plain = [one for one in found.best if one.strategy.data == world.size]
    tried += [one for one in plain if one not in tried]  # what a run without --mesh does
    how = "timed layers" if facts["measured"] else "the speed of this machine"
    return tried, f"{found.num_strategies:,} ways on {found.num_meshes:,} meshes priced with {how}"


def _machine(world: World, facts: dict[str, Any]) -> Machine:
    return this_machine(
        world.size,
        ranks_per_node=world.node_size,
        speed=facts["speed"],
        bandwidth=facts["bandwidth"],
        calibration=facts["calibration"],
    )


def _refusal(found: Found, machine: Machine) -> str:
    least = found.leanest
    if least is None:
        return "--mesh auto: no mesh of so many ranks goes with the model and the other settings"
    return (
        f"--mesh auto: nothing fits into the {say_size(machine.memory)} of a rank; the nearest, "
        f"{least.strategy.mesh_text} {say_how(least.strategy)}".rstrip()
        + f", needs {say_size(least.memory.all)}: take more ranks, smaller batches or --recompute stage"
    )


def _say(best: list[Estimate], timed: list[tuple[float, str]], chosen: Estimate, how: str) -> list[str]:
    """Return lines on the choice and its reasons."""
    lines = [f"--mesh auto: {chosen.strategy.mesh_text}; {how}"]
    for number, one in enumerate(best):
        measured = ""
        if number < len(timed):
            seconds, error = timed[number]
            measured = f"; does not run: {error}" if error else f", measured {say_seconds(seconds)}"
        name = f"{one.strategy.mesh_text} {say_how(one.strategy)}".strip()
        lines.append(
            f"    {name}: predicted {say_seconds(one.seconds)} a step{measured}, {say_size(one.memory.all)} a rank "
            f"({say_parts(one)})"
        )
    return lines
