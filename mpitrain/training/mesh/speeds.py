"""Speeds of the ranks of a pipeline, by which its stages are cut (``--balance auto``)."""

import numpy as np

from ...comm.group import Group
from ...comm.world import World
from ...device import Device
from ...layers import Layer
from ...parallel.pipeline.measure import measure_units

SECONDS = 0.5
"""Time for all units of the model on each rank."""

ALIKE = 0.25
"""Ranks that take so much longer than the fastest still count as fast as that: noise makes no other stages."""


def measure_slowness(
    world: World, pipe: Group, model: Layer, input_shape: tuple[int, ...], num_samples: int, device: Device
) -> list[float]:
    """Return the time that each rank of a pipeline takes, relative to rank 0 of the job (collective).

    Every rank runs all units of the model by itself: at the same time as the others, or one after the other where they
    share cores. The ranks of one place in several pipelines have the same stage, and the slowest of them counts.
    """
    mine, turns = 0.0, world.size if any(world.all_gather(world.oversubscribed)) else 1
    for turn in range(turns):
        with world.together(asleep=True):
            if turns == 1 or turn == world.rank:
                costs = measure_units(model, input_shape, num_samples, device=device, seconds=SECONDS)
                mine = sum(cost.seconds for cost in costs)
    times = np.zeros(pipe.size)
    times[pipe.rank] = mine
    return relative(world.maximum(times).tolist(), world.all_gather(mine)[0])


def relative(seconds: list[float], of_costs: float) -> list[float]:
    """Return times relative to ``of_costs``, those of the rank that measures the costs of the units.

    Examples
    --------
    >>> relative([1.0, 1.1, 2.0], 1.0), relative([2.0, 1.0], 2.0)
    ([1.0, 1.0, 2.0], [1.0, 0.5])
    """
    fastest = min(seconds)
    rounded = [fastest if time < (1 + ALIKE) * fastest else time for time in (*seconds, of_costs)]
    return [time / rounded[-1] for time in rounded[:-1]]
