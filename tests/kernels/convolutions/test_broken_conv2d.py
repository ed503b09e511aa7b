"""Mistakes planted in convolutions are found: by a wrong result, or by the stand-in, which refuses what GPUs forbid."""

import functools
from dataclasses import replace

import pytest

from mpitrain.kernels.convolution import KINDS
from tests.kernels import cpu
from tests.kernels.apart import survives
from tests.kernels.convolutions.cases import Case, of, run

pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

SIMT_TILE = {"TILE_M": 64, "TILE_N": 64, "TILE_K": 8, "WARP_M": 32, "WARP_N": 32}
MMA_TILE = {"TILE_M": 64, "TILE_N": 64, "WARP_M": 32, "WARP_N": 32, "STAGES": 3}

PLAIN = of("forward", 2, (9, 11), 40, 72, (3, 3), (1, 1), (1, 0))
STRIDED = of("forward", 2, (15, 12), 40, 24, (3, 2), (2, 3), (1, 0), (1, 2), groups=1)
GROUPED = of("forward", 2, (7, 9), 32, 48, (2, 3), (1, 2), (0, 1), groups=2)
CASES = {kind: [Case(replace(conv, kind=kind), bias=True) for conv in (PLAIN, STRIDED, GROUPED)] for kind in KINDS}

SIMT, TF32, BF16 = (
    {"kernel": "conv2d_simt"},
    {"kernel": "conv2d_mma", "inputs": "tf32"},
    {"kernel": "conv2d_mma", "inputs": "bf16"},
)
ODD = {"kernel": "conv2d_mma", "inputs": "tf32", "elementwise": True}
FIRST_PLACE = "part.rows.first_place + at.remainder * part.rows.place_step"
WAIT, BARRIER, FETCH = "    copy_wait<STAGES - 2>();", "    __syncthreads();", "    fetch(tile + STAGES - 1);"

MISTAKES = {  # which of the three, by which kernel, right, wrong
    "padding on the wrong side": (
        *("forward", SIMT),
        "part.rows.scale + part.rows.first;",
        "part.rows.scale - part.rows.first;",
    ),
    "no stride": ("forward", TF32, "at.remainder * part.rows.scale", "at.remainder"),
    "taps in another order": (
        *("forward", BF16),
        "const int h = at.quotient * part.rows.step,",
        "const int h = (part.rows.taps - 1 - at.quotient) * part.rows.step,",
    ),
    "no zeros above": ("forward", TF32, "unsigned(place.h + step.h) < unsigned(conv.height)", "place.h + step.h < 9"),
    "no zeros on the right": ("forward", TF32, "unsigned(place.w + step.w) < unsigned(conv.width)", "true"),
    "zeros not written": ("forward", BF16, "source_.holds(place, step_[0]) ? CHUNK_BYTES : 0", "CHUNK_BYTES"),
    "rows counted as columns": (
        *("forward", SIMT),
        "at = part.rows.by_positions(line.quotient);\n    const int h = at.remainder * part.rows.scale",
        "at = part.cols.by_positions(line.quotient);\n    const int h = at.remainder * part.rows.scale",
    ),
    "channels of the first group": ("forward", TF32, "gemm.a + part.group * gemm.a_batch", "gemm.a"),
    "filters of the first group": ("forward", SIMT, "gemm.b + part.group * gemm.b_batch", "gemm.b"),
    "the bias of the first group": ("forward", SIMT, "gemm.bias += part.group * gemm.n", "gemm.bias += 0"),
    "groups and classes swapped": ("dx", SIMT, "which = number / groups", "which = number % groups"),
    "a step that stays": ("forward", BF16, "if (K_CONTIGUOUS) find_steps(k);", "if (K_CONTIGUOUS) find_steps(0);"),
    "elements of a chunk at one step": ("forward", ODD, "along() * CHUNK + j)", "along() * CHUNK)"),
    "pixels of dw that stay": ("dw", BF16, "source_.place(k + across()", "source_.place(across()"),
    "dw of other taps": ("dw", SIMT, "step_ = source.step(first + along());", "step_ = source.step(along());"),
    "classes of rows swapped": ("dx", TF32, "part.rows.first_place + at", "part.cols.first_place + at"),
    "one class of columns": ("dx", SIMT, "conv.axes[1][which % wide]", "conv.axes[1][0]"),
    "all taps in every class": ("dx", BF16, "part.rows.first_tap + at.quotient * part.rows.tap_step", "at.quotient"),
    "filters not turned": (
        "dx",
        BF16,
        "const int h = at.quotient * part.rows",
        "const int h = -at.quotient * part.rows",
    ),
    "a row of filters too short": ("dx", TF32, "row * conv.kernel_width", "row * (conv.kernel_width - 1)"),
    "results in the order of the class": ("dx", SIMT, "const int line = rows(row);", "const int line = row;"),
    "no wait for the copies": ("forward", TF32, WAIT, ""),
    "no barrier after the wait": ("dx", BF16, BARRIER, ""),
    "a stage filled too early": ("dw", TF32, FETCH, FETCH.replace(" - 1", "")),
    "a stage filled before the barrier": ("forward", BF16, f"{BARRIER} ", f"{FETCH}\n{BARRIER}\n    if (false) // "),
    "no barrier between tiles": ("dx", SIMT, "    }\n    __syncthreads();\n  }", "    }\n  }"),
}

THROUGH = {  # dx of pixels that are apart, through the ReLU before it
    "the mask of the class": ("load<N>(pre + place", "load<N>(pre + (long long)row * gemm.out_ld + col"),
    "the mask of what was there": ("load<N>(pre + place", "load<N>(out + place"),
    "no mask": ("x[i] *= activate(to_float(kept.at[i]))", "x[i] *= 1"),
}
WITH_RELU = Case(replace(STRIDED, kind="dx", epilogue="relu_gradient"))
MOMENTS = {
    "the shift forgotten": ("center[i] + sums[i] * part", "sums[i] * part"),
    "another shift for each lane": ("__shfl_sync(~0u, x[i], threadIdx.x % 4)", "x[i]"),
    "rows beyond the last": ("is_row ? x[i] - center[i] : 0", "x[i] - center[i]"),
    "not about the mean": ("squares[i] - sums[i] * sums[i] * part", "squares[i]"),
}
WITH_MOMENTS = Case(of("forward", 1, (9, 9), 8, 12, (3, 3), (1, 1), (1, 1)), "conv2d_mma", moments=True)


def broken(kind, options, right, wrong):
    """Return the cases of a mistake, and the kernel with it for each."""
    types = {name: value for name, value in options.items() if name == "inputs"}
    rest = {name: value for name, value in options.items() if name != "inputs"}
    cases = [replace(case, conv=replace(case.conv, **types), **rest) for case in CASES[kind]]
    tile = SIMT_TILE if rest["kernel"] == "conv2d_simt" else MMA_TILE
    kernels = cpu.build(f"{rest['kernel']}.cu", lambda text: text.replace(right, wrong), **cases[0].macros(), **tile)
    return cases, kernels


def break_moments(right, wrong):
    case = replace(WITH_MOMENTS, conv=replace(WITH_MOMENTS.conv, inputs="tf32"))
    return case, cpu.build("conv2d_mma.cu", lambda text: text.replace(right, wrong), **case.macros(), **MMA_TILE)


def break_mask(right, wrong):
    edited = cpu.build("conv2d_simt.cu", lambda text: text.replace(right, wrong), **WITH_RELU.macros(), **SIMT_TILE)
    return WITH_RELU, edited


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    jobs = [functools.partial(broken, *mistake) for mistake in MISTAKES.values()]
    jobs += [functools.partial(break_mask, *mistake) for mistake in THROUGH.values()]
    cpu.build_ahead([*jobs, *(functools.partial(break_moments, *mistake) for mistake in MOMENTS.values())])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_broken_convolution_is_found(mistake):
    cases, kernels = broken(*MISTAKES[mistake])
    assert not survives(lambda: all(run(replace(case, seed=1), kernels) < 1e-5 for case in cases))


@pytest.mark.parametrize("mistake", THROUGH)
def test_broken_mask_is_found(mistake):
    case, kernels = break_mask(*THROUGH[mistake])
    assert run(case, cpu.build("conv2d_simt.cu", **case.macros(), **SIMT_TILE)) < 1e-5
    assert not survives(lambda: run(case, kernels) < 1e-5)


@pytest.mark.parametrize("mistake", MOMENTS)
def test_broken_moments_are_found(mistake):
    case, kernels = break_moments(*MOMENTS[mistake])
    assert not survives(lambda: run(case, kernels) >= 0)
