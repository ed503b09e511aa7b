"""This machine as ``planning`` takes it: speeds measured in a second, messages as calibrated, and units timed.

Ranks that share cores are slower by as much. All ranks of a job measure at the same time, since they share memory's
bandwidth in training, too.
"""

import os
import platform
import time
from collections.abc import Sequence

import numpy as np

from ...collectives.price import Calibration, calibration_path, load_calibration
from ...comm.start import library_name
from ...device import CPU, Device
from ...errors import UserError
from ...layers import Layer
from ...losses import Loss
from ...parallel.pipeline.measure import measure_units
from ...parallel.pipeline.unit_cost import UnitCost
from ...planning import Level, Machine, Model, Speed, Unit
from ...planning.compute import Measured, Times
from ...planning.units import unnamed

SIDE = 768  # of the matrices whose product is timed
LENGTH = 1 << 24  # bytes of the arrays that are copied: longer than caches
REPEATS = 5
LATENCY, BANDWIDTH = 5e-6, 4e9  # of messages in a node that nobody has measured
SPARE = 0.9  # part of the memory that a training may use
FEW = 0.5  # seconds for all units of a model, for each number of samples
MOST_OPERATIONS = 2e12  # of forward and backward of the units that are timed


def count_cores() -> int:
    """Return the number of cores on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> float:
    """Return the bytes of memory of this machine that are free."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = next(line for line in file if line.startswith("MemAvailable"))
        return 1024.0 * int(found.split()[1])
    except (OSError, StopIteration, ValueError):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def product_speed() -> float:
    """Return the operations a second of a large product in float32."""
    a, b = (np.full((SIDE, SIDE), value, np.float32) for value in (0.5, 0.25))
    y = np.empty_like(a)
    return 2.0 * SIDE**3 / _least(lambda: np.matmul(a, b, out=y))


def memory_speed() -> float:
    """Return the bytes per second that a copy reads and writes."""
    a, b = np.ones(LENGTH // 4, np.float32), np.empty(LENGTH // 4, np.float32)
    return 2.0 * LENGTH / _least(lambda: np.copyto(b, a))


def _least(run: object) -> float:
    assert callable(run)
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def find_calibration(ranks: int) -> Calibration | None:
    """Return the calibration that ``collective calibrate`` has written here for so many ranks; None without one."""
    try:
        found = load_calibration(calibration_path(platform.node(), library_name(), ranks))
    except UserError:
        return None
    return None if found.oversubscribed else found


def this_machine(
    ranks: int,
    *,
    ranks_per_node: int = 0,
    speed: float = 0.0,
    bandwidth: float = 0.0,
    calibration: Calibration | None = None,
) -> Machine:
    """Return this machine for a job of so many ranks.

    Parameters
    ----------
    ranks : int
    ranks_per_node : int
        All on one node by default.
    speed, bandwidth : float
        Of a rank; measured here by default.
    calibration : Calibration, optional
        Of the messages; by default that of ``collective calibrate``, if there is one.
    """
    node = ranks_per_node or ranks
    sharing = max(1.0, node / count_cores())
    speed, bandwidth = speed or product_speed() / sharing, bandwidth or memory_speed() / sharing
    found = calibration or find_calibration(ranks)
    latency, rate = (LATENCY, BANDWIDTH) if found is None else _line(found)
    levels = [Level("memory", node, latency, rate, rate)]
    if node < ranks:
        levels.append(Level("network", ranks, latency, rate, rate))
    return Machine(
        name=f"this machine ({platform.node()})",
        speeds={name: Speed(speed, speed) for name in ("fp32", "tf32", "bf16")},
        memory=SPARE * free_memory() / node,
        bandwidth=bandwidth,
        levels=tuple(levels),
        overlap=0.0,
        half=16.0,
        call=5e-6,
        shares_memory=True,
        calibration=found,
        source="measured",
    )


def _line(calibration: Calibration) -> tuple[float, float]:
    line = calibration.inside.exchange.fit()
    return max(1e-7, line.alpha), 1.0 / max(line.beta, 1e-12)


def measure_model(
    layer: Layer,
    model: Model,
    input_shape: tuple[int, ...],
    samples: Sequence[int] = (1, 4),
    *,
    loss: tuple[Loss, np.ndarray] | None = None,
    device: Device = CPU,
    seconds: float = FEW,
) -> dict[Unit, Measured] | None:
    """Return the measured times of the units of a model; None for one that takes too long.

    Parameters
    ----------
    layer, model : Layer, Model
        The model, and its description (``models.outline``).
    samples : sequence of int
        Two numbers of samples, between and beyond which times are on a line.
    loss : (Loss, array), optional
        With targets for the most samples.
    """
    few, many = samples
    if model.flops * (few + many) > MOST_OPERATIONS or len(model.units) < 2:
        return None
    rows: list[list[UnitCost]] = []
    for number in (few, many):
        own = None if loss is None else (loss[0], loss[1][:number])
        rows.append(measure_units(layer, input_shape, number, loss=own, device=device, seconds=seconds))
    return lines(model, samples, rows)


def lines(model: Model, samples: Sequence[int], rows: Sequence[Sequence[UnitCost]]) -> dict[Unit, Measured]:
    """Return the line of each kind of unit through the least of its times with few and with many samples."""
    found: dict[Unit, list[Times]] = {}
    for number, costs in enumerate(rows):
        for unit, cost in zip(model.units, costs, strict=True):
            times = Times(cost.forward, cost.dx, cost.dw)
            both = found.setdefault(unnamed(unit), [])
            if len(both) == number:
                both.append(times)
            else:
                both[number] = Times(*map(min, zip(both[number], times, strict=True)))
    few, many = samples
    return {unit: Measured.through((few, both[0]), (many, both[1])) for unit, both in found.items()}
