"""Points of a sweep: a grid, random points, and a Latin hypercube. Point i depends on the seed and i alone.

Of a Latin hypercube with n points, each of n equal parts of each range has one point (McKay, Beckman and Conover,
A comparison of three methods for selecting values of input variables, Technometrics 1979).
"""

import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.rng import random_bits, random_order
from ..errors import UserError
from .parameters import Parameter, Values

POINTS, PLACES, CELLS = range(101, 104)  # purposes of random bits
MOST_TRIALS = 10_000


def grid(parameters: Sequence[Parameter]) -> list[Values]:
    """Return all combinations of values, of which the last parameter changes first; each only once."""
    axes = [parameter.grid() for parameter in parameters]
    number = int(np.prod([len(axis) for axis in axes], dtype=np.float64))
    if number > MOST_TRIALS:
        raise UserError(f"the grid has {number:,} points, and a sweep at most {MOST_TRIALS:,}")
    found: dict[str, Values] = {}
    for point in itertools.product(*axes):
        values = active(parameters, [*point])
        found.setdefault(repr(values), values)
    return list(found.values())


def random_point(parameters: Sequence[Parameter], seed: int, number: int) -> Values:
    """Return the random point of that number."""
    return active(parameters, [one.at(_uniform(seed, POINTS, number, one.name)) for one in parameters])


def latin_hypercube(parameters: Sequence[Parameter], seed: int, count: int) -> list[Values]:
    """Return ``count`` points, of which each has its own part of the ``count`` equal ones of each range."""
    orders = [random_order(count, seed, CELLS, _word(one.name)) for one in parameters]
    points = []
    for i in range(count):
        shares = [
            (int(order[i]) + _uniform(seed, PLACES, i, one.name)) / count
            for order, one in zip(orders, parameters, strict=True)
        ]
        points.append(active(parameters, [one.at(share) for one, share in zip(parameters, shares, strict=True)]))
    return points


def active(parameters: Sequence[Parameter], point: Sequence[Any]) -> Values:
    """Return the values of a point by name, without those of parameters whose conditions do not hold.

    A condition names parameters that come before its own.
    """
    values: dict[str, Any] = {}
    for parameter, value in zip(parameters, point, strict=True):
        if parameter.applies(values):
            values[parameter.name] = value
    return values


def _uniform(seed: int, purpose: int, number: int, name: str) -> float:
    """Return a number in [0, 1) that depends on the arguments alone."""
    return uniform(seed, purpose, number, _word(name))


def uniform(*key: int) -> float:
    """Return a number in [0, 1) that depends on the key alone."""
    return float(random_bits(np.zeros(1, np.int64), *key)[0] >> np.uint64(11)) * 2.0**-53


def _word(name: str) -> int:
    return zlib.crc32(name.encode())
