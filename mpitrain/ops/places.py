"""Elements at some places of an array, each at most once: u, y (n,); places (k,) of integers; values (k,)."""

import numpy as np

from .dispatch import op

Array = np.ndarray


@op
def take_places(u: Array, places: Array, values: Array, factor: float) -> None:
    """Write the elements at the places, times a factor, to values."""
    with np.errstate(invalid="ignore"):  # a NaN that signals
        np.multiply(u[places], values.dtype.type(factor), out=values)


@op
def put_places(y: Array, places: Array, values: Array, add: bool) -> None:
    """Write values to the places of y, or add them."""
    if add:
        with np.errstate(invalid="ignore"):  # infinities of both signs
            y[places] += values
    else:
        y[places] = values


@op
def clear_places(u: Array, places: Array) -> None:
    """Write zeros to the places of u."""
    u[places] = 0
