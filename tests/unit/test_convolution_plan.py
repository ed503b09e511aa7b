"""Plans of convolutions: every layer of the networks has one, on every architecture and in every type."""

from dataclasses import replace

import pytest

from mpitrain.errors import UserError
from mpitrain.kernels.bench.cases import RESNET50
from mpitrain.kernels.catalogue import convolutions, products
from mpitrain.kernels.convolution import KINDS, Convolution
from mpitrain.kernels.convolution_plan import (
    TILES,
    choose_convolution,
    convolution_key,
    covers,
    microseconds,
    moved_bytes,
    plan_convolution,
)
from mpitrain.kernels.plan import fits_grid
from mpitrain.kernels.planner import read_table

RESNET20 = [
    *((32, 3, 16, 3, 1), (32, 16, 16, 3, 1), (32, 16, 32, 3, 2), (16, 32, 32, 3, 1), (32, 16, 32, 1, 2)),
    *((16, 32, 64, 3, 2), (8, 64, 64, 3, 1), (16, 32, 64, 1, 2)),
]
LAYERS = [(each.size, each.i, each.o, each.kernel, each.stride) for each in RESNET50] + RESNET20
TYPES = [("sm_75", "fp32"), ("sm_80", "tf32"), ("sm_80", "bf16"), ("sm_90a", "fp32"), ("sm_90a", "bf16")]
AHEAD = {*convolutions(), *products()}


def layer(size, i, o, kernel, stride, kind="forward", batch=256, inputs="fp32"):
    half = kernel // 2
    outputs = "bf16" if inputs == "bf16" and kind != "dw" else "fp32"
    window = (kernel, kernel), (stride, stride), (half, half)
    return Convolution(kind, batch, (size, size), i, o, *window, inputs=inputs, outputs=outputs)


@pytest.mark.parametrize(("arch", "inputs"), TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_planned(kind, arch, inputs):
    for each in LAYERS:
        for batch in (1, 32, 256):
            conv = layer(*each, kind, batch, inputs)
            made = plan_convolution(conv, arch, 132)
            assert made is not None
            assert made.kernel in AHEAD, made.kernel
            assert made.sum_kernel is None or made.sum_kernel.file == "gemm_sum.cu"
            assert all(fits_grid(launch.grid) for _, launch in made.launches)
            assert made.kernel.fits(arch)


def test_few_tiles_of_many_pixels_are_split():
    tile, splits = choose_convolution(layer(56, 64, 64, 3, 1, "dw", inputs="bf16"), "sm_80", 108, read_table())
    assert splits > 8
    assert tile.n == 64


def test_classes_are_not_split():
    made = plan_convolution(layer(14, 512, 512, 3, 2, "dx", batch=1), "sm_80", 108)
    assert made.splits == 1
    assert made.launches[0][1].grid[2] == 4


def test_strides_above_two_are_several_launches():
    made = plan_convolution(layer(36, 8, 8, 3, 3, "dx", batch=1), "sm_80", 108)
    assert [launch.grid[2] for _, launch in made.launches] == [4, 2, 2, 1]


def test_a_measured_table_decides():
    conv = layer(28, 128, 128, 3, 1)
    table = replace(read_table(), shapes={convolution_key(conv, "sm_80"): (TILES[2].name, 4)})
    assert choose_convolution(conv, "sm_80", 108, table) == (TILES[2], 4)
    assert choose_convolution(replace(conv, images=3), "sm_80", 108, table)[0] != TILES[2]


def test_no_time_is_below_that_of_the_memory():
    table = read_table()
    for each in LAYERS:
        conv = layer(*each, inputs="bf16")
        assert microseconds(conv, TILES[3], 1, 132, table) >= moved_bytes(conv) / table.bytes_per_us


def test_what_numbers_of_32_bits_do_not_reach_is_not_covered():
    assert covers(layer(56, 64, 64, 3, 1))
    assert not covers(layer(40000, 3, 64, 7, 2, batch=1))
    assert plan_convolution(layer(40000, 3, 64, 7, 2, batch=1), "sm_80", 108) is None
    assert plan_convolution(replace(layer(8, 70000, 70000, 3, 1, batch=1), groups=70000), "sm_80", 108) is None


def test_types_that_no_kernel_takes():
    with pytest.raises(UserError, match="no convolution of bf16 for sm_75"):
        plan_convolution(layer(8, 8, 8, 3, 1, inputs="bf16"), "sm_75", 40)
