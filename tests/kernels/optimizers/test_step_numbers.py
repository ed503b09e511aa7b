"""The numbers of a step that the GPU finds itself, and updates that take them."""

import math

import numpy as np
import pytest

from mpitrain.optim import clip_factor
from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, f32, i32, i64, launch

pytestmark = cpu.needs_gxx
N = 1003


def numbers_of(totals, squares, given, max_norm, seed=0):
    elements = Elements(0)
    numbers = elements.room(1 + len(given))
    arrays = np.array(totals, np.float32), np.array(squares, np.float32), i32(len(squares)), np.array(given, np.float64)
    most = np.array(max_norm, np.float64)
    launch(cpu.build("step_numbers.cu"), "step_numbers", *arrays, i32(len(given)), most, numbers, grid=1, seed=seed)
    elements.check_guards()
    return numbers


@pytest.mark.parametrize("max_norm", [0.0, 1e-3, 0.5, 1e9])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 48.0])
@pytest.mark.parametrize("parts", [1, 256, 300])
def test_numbers_are_those_of_the_host(max_norm, weight, parts):
    rng = np.random.default_rng(parts)
    squares, given = rng.random(parts).astype(np.float32), (0.3, 1e-3, 1e-8)
    scale = 1 / max(1.0, weight)
    if max_norm:
        scale *= clip_factor(math.sqrt(math.fsum(map(float, squares))) * scale, max_norm)
    found = numbers_of((weight, 2.5), squares, given, max_norm, seed=parts)
    np.testing.assert_array_equal(found, np.float32([1, scale * given[0], *given[1:]]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_that_is_not_finite_is_left_out(bad):
    assert numbers_of((1, bad), [1.0], (1.0,), 1.0)[0] == 0
    if bad > 0 or math.isnan(bad):
        assert numbers_of((1, 1), [1.0, bad], (1.0,), 1.0)[0] == 0
    assert numbers_of((1, 1), [0.0], (1.0,), 1.0).tolist() == [1, 1]


def adam(w, g, slots, decays, numbers, rest):
    scale, rate, eps, shrink = rest
    fixed = (*map(f32, (rate, eps, scale, 0.9, 0.99, 0.0, shrink)),)
    launch(cpu.build("update.cu"), "adam", w, g, *slots, decays, NULL, numbers, i64(N), *fixed)


def adagrad(w, g, slots, decays, numbers, rest):
    scale, rate = rest
    fixed = map(f32, (rate, 1e-8, scale, 0.01))
    launch(cpu.build("update.cu"), "adagrad", w, g, slots[0], decays, NULL, numbers, i64(N), *fixed)


def sgd(w, g, slots, decays, numbers, rest):
    scale, decay = rest
    fixed = *map(f32, (1.0, scale, 0.9, decay)), i32(0)
    launch(cpu.build("update.cu"), "sgd", w, g, slots[0], decays, NULL, numbers, i64(N), *fixed)


def lars(w, g, slots, decays, numbers, rest):
    piece = np.dtype([*((name, np.uint64) for name in "wgvc"), ("n", np.int64), ("rest", np.int32, 4)])
    addresses = (x.ctypes.data for x in (w, g, slots[0]))
    pieces = np.array([(*addresses, 0, N, (0, 1, 1, 0))], piece).view(np.uint8)
    partials = np.zeros((1, 3, 2), np.float32)
    kernels, (scale, rate) = cpu.build("lars.cu"), rest
    launch(kernels, "lars_norms", pieces, partials, grid=(3, 1))
    launch(kernels, "lars", pieces, partials, numbers, *map(f32, (rate, scale, 0.9, 0.01, 0.001)), grid=(3, 1))


RULES = {sgd: (0.2, 0.01), adam: (0.5, 0.01, 1e-6, 0.03), adagrad: (0.5, 0.1), lars: (0.5, 0.1)}


OF_RECORDS = pytest.param(lars, marks=pytest.mark.shim)  # whose addresses in memory a GPU would not know


@pytest.mark.parametrize("rule", [sgd, adam, adagrad, OF_RECORDS], ids=lambda rule: rule.__name__)
def test_updates_take_numbers_in_place_of_arguments(rule):
    elements, given = Elements(0, seed=1), RULES[rule]
    decays = (np.arange(-(-N // 16)) % 3 > 0).astype(np.uint8)
    start = [elements.draw(N)[0] for _ in range(4)]
    start[3][...] = np.abs(start[3])

    def run(numbers, rest):
        w, g, *slots = [x.copy() for x in start]
        rule(w, g, slots, decays, numbers, rest)
        return np.stack([w, *slots])

    wrong = (math.nan,) * len(given)
    expected = run(NULL, given)
    assert not np.array_equal(expected, np.stack([start[0], *start[2:]]))
    np.testing.assert_array_equal(run(np.float32([1, *given]), wrong), expected)
    np.testing.assert_array_equal(run(np.float32([0, *given]), given), np.stack([start[0], *start[2:]]))
