"""Convolutions by implicit products against NumPy in float64."""

from dataclasses import replace

import pytest

from tests.kernels import cpu
from tests.kernels.convolutions import Case, each_kind, geometries, of, run

pytestmark = cpu.needs_gxx
TOLERANCE = {"fp32": 2e-6, "bf16": 2**-8}  # by type of the output; inputs are rounded before the oracle sees them
SMALL_SIMT = {"TILE_M": 64, "TILE_N": 64, "TILE_K": 8, "WARP_M": 32, "WARP_N": 32}
SMALL_MMA = {"TILE_M": 64, "TILE_N": 64, "WARP_M": 32, "WARP_N": 32, "STAGES": 4}


def check(case, **tile):
    assert run(case, **tile) < TOLERANCE[case.conv.outputs]


@pytest.mark.parametrize("case", [Case(c, seed=i) for i, c in enumerate(each_kind(geometries()))], ids=str)
def test_simt(case):
    check(case, **SMALL_SIMT)
