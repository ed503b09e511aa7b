"""Convolutions line by line against float64: ragged lines, images, channels and paddings; moments."""

from dataclasses import replace

import numpy as np
import pytest

from mpitrain.kernels.convolution_lines import covers, tile_of
from tests.kernels import cpu
from tests.kernels.convolutions.cases import Case, of
from tests.kernels.convolutions.hopper import run

pytestmark = cpu.needs_gxx
TOLERANCE = 2**-8


def lines(*sizes, padding=(1, 1), epilogue="none", kind="forward", groups=1):
    types = {"inputs": "bf16", "outputs": "bf16"}
    return of(kind, *sizes, (3, 3), padding=padding, epilogue=epilogue, groups=groups, **types)


# Of each width of a line: one image and several, of which the last are fewer; one strip and two; depths and columns.
CASES = [
    Case(lines(3, (5, 40), 64, 64), bias=True),
    Case(lines(2, (3, 67), 16, 64, padding=(0, 2)), beta=1.0),
    Case(lines(3, (6, 20), 72, 40, epilogue="relu"), bias=True),
    Case(lines(5, (4, 16), 128, 72, padding=(2, 1))),
    Case(lines(11, (3, 7), 24, 16, padding=(1, 0)), bias=True, seed=1),
    Case(lines(9, (1, 1), 8, 8), beta=0.5),
    Case(lines(2, (4, 5), 40, 24, padding=(4, 3), epilogue="relu"), bias=True, beta=1.0),
    Case(lines(3, (4, 9), 128, 128, groups=32), bias=True, beta=1.0),
    Case(lines(3, (3, 17), 64, 64, padding=(0, 1), groups=4, epilogue="relu"), bias=True),
    Case(lines(2, (4, 7), 128, 128, groups=2), bias=True),
    Case(lines(2, (3, 7), 256, 256, groups=2)),
]


@pytest.mark.parametrize("kind", ["forward", "dx"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_float64(case, kind):
    case = replace(case, conv=replace(case.conv, kind=kind))
    assert run(case, tile_of(case.conv)) < TOLERANCE


@pytest.mark.parametrize(
    "case",
    [
        Case(lines(3, (5, 40), 64, 64), bias=True, moments=True),
        Case(lines(6, (4, 20), 40, 72, padding=(0, 1), epilogue="relu"), moments=True),
        Case(lines(8, (7, 7), 16, 24, padding=(1, 1)), bias=True, moments=True),
        Case(lines(1, (3, 128), 16, 16), beta=1.0, moments=True),
        Case(lines(4, (5, 16), 128, 128, groups=16), bias=True, moments=True),
    ],
    ids=str,
)
def test_moments_of_what_is_stored(case):
    assert run(case, tile_of(case.conv)) < TOLERANCE


@pytest.mark.parametrize("seed", range(8))
def test_random_convolutions(seed):
    rng = np.random.default_rng(seed)
    while True:
        channels = [int(8 * rng.integers(1, 17)) for _ in range(2)]
        size = int(rng.integers(1, 6)), int(rng.integers(1, 70))
        padding = tuple(map(int, rng.integers(0, 4, 2)))
        kind, epilogue = str(rng.choice(["forward", "dx"])), str(rng.choice(["none", "relu"]))
        conv = lines(int(rng.integers(1, 5)), size, *channels, padding=padding, kind=kind, epilogue=epilogue)
        if min(conv.output) > 0 and covers(conv):
            break
    case = Case(conv, bias=bool(rng.integers(2)), beta=float(rng.integers(2)), seed=seed)
    assert run(case, tile_of(conv)) < TOLERANCE, (seed, case)


def test_what_is_left_to_other_kernels():
    good = lines(2, (7, 9), 64, 64)
    assert covers(good)
    bad = [
        {"inputs": "tf32"},
        {"outputs": "fp32"},
        {"groups": 2, "channels": 96, "num_outputs": 96},
        {"channels": 60},
        {"groups": 4, "num_outputs": 128},
        {"num_outputs": 4},
        {"images": 0},
    ]
    bad += [{"stride": (2, 1)}, {"dilation": (1, 2)}, {"kernel": (3, 1)}, {"kind": "dw"}, {"channels": 136}]
    bad += [{"epilogue": "gelu"}, {"size": (0, 9), "padding": (0, 0)}]
    for changes in bad:
        assert not covers(replace(good, **changes)), changes
    assert covers(replace(good, num_outputs=136))
    assert covers(replace(good, groups=2, channels=192, num_outputs=192)) is False, "of 96 channels"
    assert not covers(replace(good, kind="dx", num_outputs=136))
