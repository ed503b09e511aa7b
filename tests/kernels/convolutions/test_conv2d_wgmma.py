from dataclasses import replace

import pytest

from mpitrain.kernels.convolution_wgmma import SLAB, built_for, parts_of
from tests.kernels import cpu
from tests.kernels.convolutions.cases import Arrays, Case, of
from tests.kernels.convolutions.hopper import launch, random_case, run, wide

pytestmark = cpu.needs_gxx
TOLERANCE = {"fp32": 1e-6, "bf16": 2**-8}  # by type of the output


def bf16(*sizes, outputs="fp32", epilogue="none", **window):
    return of("forward", *sizes, inputs="bf16", outputs=outputs, epilogue=epilogue, **window)


# Ragged tiles, channels and outputs; windows larger than images; strides that leave pixels of dx without a tap.
FORWARD = [
    (Case(bf16(2, (7, 9), 64, 64, (3, 3), padding=(1, 1)), bias=True), wide(64, 2)),
    (Case(bf16(3, (9, 11), 72, 200, (3, 3), (2, 2), (1, 1), outputs="bf16", epilogue="relu"), bias=True), wide(128)),
    (Case(bf16(5, (8, 7), 8, 24, (3, 2), (3, 1), (2, 1), (2, 3)), beta=1.0, sums=True), wide(64)),
    (Case(bf16(2, (12, 13), 136, 264, (1, 1), (2, 2)), bias=True, seed=1), wide(128, 2)),
    (Case(bf16(1, (5, 4), 64, 192, (5, 5), padding=(4, 3)), moments=True), wide(192, 2)),
    (Case(bf16(2, (6, 7), 96, 72, (3, 3), padding=(1, 1)), bias=True, part=256, moments=True), wide(64)),
    (Case(bf16(2, (16, 10), 64, 264, (3, 3), padding=(1, 1), outputs="bf16"), beta=1.0), wide(256, 2)),
    (Case(bf16(3, (9, 11), 72, 136, (3, 3), padding=(1, 1), outputs="bf16"), bias=True, moments=True), wide(128)),
    (Case(bf16(5, (9, 9), 64, 264, (1, 1)), bias=True, moments=True), wide(256, 2)),
]
DX = [
    (Case(bf16(2, (7, 9), 64, 64, (3, 3), padding=(1, 1))), wide(64, 2)),
    (Case(bf16(3, (9, 11), 72, 200, (3, 3), (2, 2), (1, 1), outputs="bf16")), wide(128)),
    (Case(bf16(2, (10, 9), 24, 72, (3, 2), (3, 1), (2, 1), (2, 3)), beta=0.5), wide(64)),
    (Case(bf16(2, (12, 13), 264, 136, (1, 1), (2, 2), epilogue="relu")), wide(256, 2)),
    (Case(bf16(1, (5, 4), 136, 64, (5, 5), padding=(3, 3))), wide(192, 2)),
    (Case(bf16(2, (6, 7), 96, 72, (3, 3), padding=(3, 4)), part=192), wide(128, 2)),
    (Case(bf16(3, (9, 7), 72, 64, (3, 3), padding=(1, 1), epilogue="relu_gradient"), sums=True), wide(128)),
    (Case(bf16(2, (9, 11), 64, 72, (3, 3), (2, 2), (1, 1), outputs="bf16", epilogue="relu_gradient")), wide(64, 2)),
    (Case(bf16(5, (9, 9), 136, 64, (1, 1), outputs="bf16", epilogue="relu_gradient"), sums=True), wide(64)),
]
DW = [
    (Case(bf16(2, (7, 9), 64, 64, (3, 3), padding=(1, 1))), wide(64, 2)),
    (Case(bf16(3, (9, 11), 128, 200, (3, 3), (2, 2), (1, 1)), beta=1.0), wide(128)),
    (Case(bf16(4, (10, 9), 64, 72, (3, 2), (3, 1), (2, 1), (2, 3), outputs="bf16")), wide(64)),
    (Case(bf16(2, (12, 13), 192, 264, (1, 1), (2, 2)), part=64, beta=1.0), wide(256, 2)),
    (Case(bf16(3, (8, 8), 64, 136, (3, 3), padding=(1, 1)), part=128), wide(128, 2)),
]
CASES = [
    (replace(case, conv=replace(case.conv, kind=kind)), tile)
    for kind, cases in (("forward", FORWARD), ("dx", DX), ("dw", DW))
    for case, tile in cases
]


@pytest.mark.parametrize(
    ("case", "tile"), CASES, ids=lambda value: str(value) if isinstance(value, Case) else value.name
)
def test_against_float64(case, tile):
    assert run(case, tile) < TOLERANCE[case.conv.outputs]


@pytest.mark.parametrize("seed", range(20))
def test_random_convolutions(seed):
    case, tile = random_case(seed)
    assert run(case, tile) < TOLERANCE["fp32"], (seed, case, tile)


def test_moments_with_a_large_mean():
    """Differences of 1 beside a mean of 1000 keep their digits, in whole slabs and in the last."""
    case = Case(bf16(2, (9, 9), 8, 72, (1, 1)), bias=True, moments=True)
    arrays, (part,) = Arrays(case), parts_of(case.conv)
    arrays.bias += 1000
    built = built_for(wide(64), case.conv, moments=True)
    launch(case, part, wide(64), cpu.build(built.file, **dict(built.macros)), arrays, built.name)
    arrays.check_moments(SLAB)


def test_what_is_left_to_other_kernels():
    good = bf16(2, (7, 9), 64, 64, (3, 3), padding=(1, 1))
    assert parts_of(good)
    bad = [{"inputs": "tf32"}, {"groups": 2}, {"channels": 60}, {"num_outputs": 4}, {"images": 0}, {"stride": (9, 1)}]
    bad += [{"padding": (129, 1)}, {"kernel": (3, 9), "dilation": (1, 40)}, {"kind": "dw", "channels": 96}]
    for changes in bad:
        assert not parts_of(replace(good, **changes)), changes
