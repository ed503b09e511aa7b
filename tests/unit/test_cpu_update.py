"""Sums and updates in C against the NumPy functions, in float64, at every level of the machine."""

import numpy as np
import pytest

from mpitrain.arena import Arena, Parameter
from mpitrain.layers import init
from mpitrain.ops.dispatch import numpy_only
from mpitrain.ops.reduce import Sources, sum_of_squares, sum_sources
from mpitrain.optim import LARS, SGD, Adagrad, Adam, AdamW, ArenaShard
from tests.cpu_kernels import levels, use

LENGTHS = [1, 7, 16, 2047, 2048, 2049, 70_001]
RULES = {
    "sgd": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "lars": (LARS, {"eta": 0.02}),
    "adagrad": (Adagrad, {}),
}


def make(rule, options, decay):
    shapes = {f"p{i}": (n,) for i, n in enumerate(LENGTHS)}
    parameters = {name: Parameter(s, init.normal(1.0), decay=name != "p3") for name, s in shapes.items()}
    arena = Arena(parameters.items())
    return arena, rule(arena, weight_decay=decay, **options)


@levels
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("num_sources", [1, 2, 3, 8])
def test_updates(kernels, level, threads, rule, num_sources):
    use(level, threads)
    rng = np.random.default_rng(num_sources)
    (arena, fast), (oracle, slow) = (make(*RULES[rule], 0.1) for _ in range(2))
    used = oracle.values != 0
    sources = tuple((rng.standard_normal(oracle.size) * used).astype(np.float32) for _ in range(num_sources))
    cut = arena.size // 3 + 1  # where no vector begins
    whole = ArenaShard((slice(16, arena.size),), sources)
    parts = ArenaShard((slice(16, cut), slice(cut, arena.size)), sources)
    for _ in range(3):
        with numpy_only():
            slow.step(0.1, 0.3, whole)
        fast.step(0.1, 0.3, parts)
        np.testing.assert_allclose(arena.values, oracle.values, rtol=1e-4, atol=1e-5)
    for name, slot in slow.slots.items():
        np.testing.assert_allclose(fast.slots[name], slot, rtol=1e-4, atol=1e-5)
    assert not arena.values[~used].any()


@levels
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("num_sources", [2, 3, 8])
@pytest.mark.parametrize("target_is", ["apart", 0, -1])
def test_sums(kernels, level, threads, length, num_sources, target_is):
    use(level, threads)
    rng = np.random.default_rng(length)
    memory = rng.standard_normal((num_sources, length + 1)).astype(np.float32)
    sources = [row[1:] for row in memory]
    target = np.empty(length, np.float32) if target_is == "apart" else sources[target_is]
    expected = sources[0] + sources[1]
    for source in sources[2:]:
        expected = expected + source
    squares = sum_sources(target, Sources(sources))
    np.testing.assert_array_equal(target, expected)
    assert squares == pytest.approx(float(np.sum(expected.astype(np.float64) ** 2)), rel=1e-5)


@levels
@pytest.mark.parametrize("length", [0, *LENGTHS])
def test_squares(kernels, level, threads, length):
    use(level, threads)
    flat = np.random.default_rng(length).standard_normal(length + 1).astype(np.float32)[1:]
    assert sum_of_squares(flat) == pytest.approx(float(np.sum(flat.astype(np.float64) ** 2)), rel=1e-6)
    if length:
        flat[-1] = np.nan
        assert np.isnan(sum_of_squares(flat))


@levels
def test_what_is_no_number_stays_none(kernels, level, threads):
    use(level, threads)
    sources = [np.array([1, np.nan, np.inf, 1e-45], np.float32), np.array([1, 1, 1, 1e-45], np.float32)]
    target = np.empty(4, np.float32)
    squares = sum_sources(target, Sources(sources))
    np.testing.assert_array_equal(target, [2, np.nan, np.inf, np.float32(1e-45) * 2])
    assert np.isnan(squares)
