"""Attention on Hopper by wgmma and tensor copies: whether it takes arrays, and its launches.

Shapes: as in ``ops/attention.py``; bf16, with sums in fp32. It takes heads of 32, 64, 80, 96 or 128 numbers, in arrays
whose tokens, heads and samples begin at multiples of 16 bytes, as those in the packed rows of a linear layer do; all
masks, and no dropout. What it does not take goes to the kernels for all GPUs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...device import TensorMap, device_of, is_bf16
from ...kernels import attention_wgmma as tiles
from ...kernels.launch import launch
from .attention_record import Mask, address_of

ALIGNMENT = 16  # bytes, of what a tensor map describes
MOST_BYTES = 1 << 40


def takes(mask: Mask, q: Any, k: Any, *others: Any) -> bool:
    """Return whether the kernels compute attention of these arrays, none of them empty, on their device.

    Parameters
    ----------
    q, k, others : array (N, H or Hk, S or T, D)
        All arrays of the op, read and written.
    """
    arrays, size = (q, k, *others), q.shape[3]
    if mask.dropout is not None or size not in tiles.HEADS:
        return False
    device: Any = device_of(q)
    heads = q.shape[0] * q.shape[1]
    counted = all(
        tile.kernel.fits(device.arch) and tile.counts(max(q.shape[2], k.shape[2]), heads)
        for tile in (tiles.forward(size), tiles.backward_keys(size))
    )
    return counted and all(is_bf16(x) and x.shape[3] == size and _is_aligned(x) for x in arrays)


def attend(record: np.ndarray, q: Any, k: Any, v: Any) -> None:
    """Write y and log_sum_exp, to which ``record`` points (``attention_record``)."""
    _launch(record, tiles.forward(q.shape[3]), (q,), (k, v))


def attend_dx(record: np.ndarray, dy: Any, q: Any, k: Any, v: Any) -> None:
    """Write dq, dk and dv, to which ``record`` points, from log_sum_exp and delta, to which it points too."""
    _launch(record, tiles.backward_keys(q.shape[3]), (k, v), (q, dy))
    _launch(record, tiles.backward_queries(q.shape[3]), (q, dy), (k, v))


def _launch(record: np.ndarray, tile: tiles.Tile, own: Sequence[Any], other: Sequence[Any]) -> None:
    device: Any = device_of(own[0])
    samples, heads, rows, _ = own[0].shape
    maps = [device.tensor_map(_map(x, box)) for xs, box in ((own, tile.own_box), (other, tile.other_box)) for x in xs]
    launch(device, tile.kernel, tile.launch(rows, samples * heads, device.num_processors), (*maps, record))


def _map(x: Any, box: tuple[int, int]) -> TensorMap:
    """Return the map of x (N, H, T, D): its dims are (D, T, H, N), and boxes have tokens of one head."""
    batch, matrix, row = (
        stride if count > 1 else ALIGNMENT for stride, count in zip(x.strides[:3], x.shape[:3], strict=True)
    )
    return TensorMap(address_of(x), x.itemsize, x.shape[::-1], row, matrix, box, batch)


def _is_aligned(x: Any) -> bool:
    """Return whether a tensor map can describe x, and pieces of 16 bytes of its rows can be written."""
    apart = [stride for stride, count in zip(x.strides[:3], x.shape[:3], strict=True) if count > 1]
    return (
        x.strides[3] == x.itemsize
        and address_of(x) % ALIGNMENT == 0
        and all(0 < stride < MOST_BYTES and stride % ALIGNMENT == 0 for stride in apart)
    )
