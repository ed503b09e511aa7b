"""Elements at some places on a GPU: one launch each."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import places as ops
from .launch import fits, run

TAKE, PUT, CLEAR = (kernel("places.cu", name=f"{name}_places") for name in ("take", "put", "clear"))


@ops.take_places.cuda
def take_places(u: Any, places: Any, values: Any, factor: float) -> bool:
    """One launch; places are int32."""
    if not (fits(u, values) and _counts(places)):
        return False
    run(device_of(u), TAKE, places.size, (u, places, values, float(factor), places.size))
    return True


@ops.put_places.cuda
def put_places(y: Any, places: Any, values: Any, add: bool) -> bool:
    """One launch; places are int32."""
    if not (fits(y, values) and _counts(places)):
        return False
    run(device_of(y), PUT, places.size, (y, places, values, int(add), places.size))
    return True


@ops.clear_places.cuda
def clear_places(u: Any, places: Any) -> bool:
    """One launch; places are int32."""
    if not (fits(u) and _counts(places)):
        return False
    run(device_of(u), CLEAR, places.size, (u, places, places.size))
    return True


def _counts(places: Any) -> bool:
    return bool(places.dtype == np.int32 and places.flags.c_contiguous)
