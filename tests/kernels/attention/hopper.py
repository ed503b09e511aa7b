"""Attention by wgmma, forward and backward, as the device launches it: tensor maps, persistent blocks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpitrain.kernels import attention_wgmma as tiles
from tests.kernels import cpu
from tests.kernels.attention.cases import Case, Inputs
from tests.kernels.products import gemm

Edit = Callable[[str], str]
CLOSE = 0.4  # of the tolerance for bf16: 0.01 of the largest number of a result
LOGARITHMS = 1e-5
BLOCKS = 2  # fewer than tiles: they are persistent


def map_of(array: np.ndarray, box: tuple[int, int]) -> np.ndarray:
    """Return the tensor map of an array (N, H, T, D)."""
    return gemm.shim_map(array.ctypes.data, array.itemsize, array.shape[::-1], array.strides[::-1], box)


def launch(
    inputs: Inputs, tile: tiles.Tile, own: Sequence[str], other: Sequence[str], edit: Edit | None = None, seed: int = 0
) -> None:
    """Launch a kernel, whose text may be edited, over the rows of the arrays ``own``."""
    samples, heads, rows, _ = inputs.arrays[own[0]].shape
    plan = tile.launch(rows, samples * heads, BLOCKS)
    maps = [map_of(inputs.arrays[name], tile.own_box) for name in own]
    maps += [map_of(inputs.arrays[name], tile.other_box) for name in other]
    how: dict[str, Any] = {"shared_bytes": plan.shared_bytes, "seed": seed, "memory": inputs.memory}
    kernels = cpu.build(tile.file, edit, HEAD_SIZE=tile.size)
    kernels.launch(tile.name, grid=plan.grid, block=plan.block, arguments=[*maps, inputs.record()], **how)


def forward(case: Case, seed: int = 0, edit: Edit | None = None) -> Inputs:
    inputs = Inputs(case, 1, seed)
    launch(inputs, tiles.forward(case.size), "q", "kv", edit, seed)
    return inputs


def backward(case: Case, seed: int = 0, edit: Edit | None = None, kernels: str = "kv q") -> Inputs:
    """Run the kernels of dk and dv (kv) and of dq (q), with statistics in float64."""
    inputs = Inputs(case, 1, seed)
    expected = inputs.expected()
    inputs.log_sum_exp[...], inputs.delta[...] = expected["log_sum_exp"], expected["delta"]
    if "kv" in kernels:
        launch(inputs, tiles.backward_keys(case.size), "kv", ("q", "dy"), edit, seed)
    if "q" in kernels:
        launch(inputs, tiles.backward_queries(case.size), ("q", "dy"), "kv", edit, seed)
    return inputs


def check_forward(inputs: Inputs) -> None:
    inputs.check("y", tolerance=CLOSE)
    expected = inputs.expected()["log_sum_exp"]
    np.testing.assert_allclose(inputs.log_sum_exp, expected, rtol=LOGARITHMS, atol=LOGARITHMS)
