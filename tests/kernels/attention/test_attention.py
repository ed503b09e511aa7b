"""Fused attention: every size of heads, masks and layouts against float64, and its gradients by central differences."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from tests.kernels import cpu
from tests.kernels.arrays import Elements
from tests.kernels.attention import hopper
from tests.kernels.attention.cases import Case, backward, decode, forward

pytestmark = cpu.needs_gxx

CASES = {
    "one token": Case(),
    "a ragged tile": Case(2, 2, 70, 150, 64, causal=True),
    "heads that share keys": Case(1, 4, 33, 64, 40, group=2, lengths=(50,)),
    "all heads share one": Case(2, 3, 70, 70, 8, group=3, causal=True),
    "packed sequences": Case(2, 1, 90, 90, 80, causal=True, segments=((30, 1, 59), (64, 26))),
    "packed, both directions": Case(1, 2, 130, 130, 16, segments=((64, 66),)),
    "dropout": Case(2, 2, 40, 75, 64, dropout=0.3, causal=True),
    "dropout in a block off the ticks": Case(
        1, 2, 40, 75, 30, dropout=0.3, query=20, key=21, after=9, counters=True, causal=True, apart=3
    ),
    "dropout, shared keys": Case(1, 4, 35, 35, 24, group=2, dropout=0.5),
    "large scores": Case(2, 1, 1, 200, 128, spread=3.0),
    "rows without keys": Case(3, 1, 20, 70, 96, lengths=(0, 70, -5)),
    "queries before all keys": Case(1, 1, 30, 10, 32, causal=True),
    "a block after the queries": Case(1, 2, 20, 40, 16, query=30, key=32, after=3, causal=True),
    "off alignment": Case(1, 3, 66, 66, 7, apart=1),
    "whole tiles": Case(1, 1, 128, 128, 64, causal=True),
}


@pytest.mark.parametrize("bf16", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_results(name, bf16):
    inputs = forward(cpu.build, CASES[name], bf16, seed=len(name))
    inputs.check("y", "log_sum_exp")
    backward(cpu.build, inputs, seed=len(name))
    inputs.check("delta", "dq", "dk", "dv", tolerance=2)


def test_gradients_are_those_of_forward():
    """Along a random direction, by the differences of the NumPy function, to the rounding of tf32."""
    case = Case(1, 2, 20, 33, 16, group=2, causal=True, segments=((20, 13),))
    inputs = forward(cpu.build, case, 0, seed=3)
    backward(cpu.build, inputs)
    rng, step = np.random.default_rng(5), 1e-4
    for name in ("q", "k", "v"):
        direction = rng.standard_normal(inputs.wide[name].shape)
        slopes = 0.0
        for sign in (1, -1):
            moved = {**inputs.wide, name: inputs.wide[name] + sign * step * direction}
            y, logs = np.empty(moved["q"].shape), np.empty(inputs.log_sum_exp.shape)
            OPS["attention"].numpy(moved["q"], moved["k"], moved["v"], y, logs, *inputs.how)
            slopes += sign * float((y * inputs.wide["dy"]).sum()) / (2 * step)
        assert float((inputs.arrays[f"d{name}"] * direction).sum()) == pytest.approx(slopes, rel=1e-2, abs=2e-2)


@pytest.mark.parametrize("bf16", [0, 1])
def test_the_order_of_threads_does_not_count(bf16):
    case, found = Case(1, 2, 70, 70, 16, group=2, causal=True, dropout=0.2), []
    for seed in (1, 2):
        inputs = forward(cpu.build, case, bf16, 7, order=seed)
        backward(cpu.build, inputs, seed)
        found.append(b"".join(inputs.arrays[name].tobytes() for name in ("y", "dq", "dk", "dv")))
    assert found[0] == found[1]


def decode_at_once(build, case, bf16):
    return decode(build, case._replace(queries=2), bf16)


def decode_in_parts(build, case, bf16):
    return decode(build, case._replace(queries=2), bf16, num_processors=16)


def on_hopper(_, case, bf16):
    return hopper.forward(case)


@pytest.mark.parametrize(
    ("run", "bf16"),
    [(forward, 0), (forward, 1), (on_hopper, 1), (decode_at_once, 0), (decode_in_parts, 1)],
)
def test_nan_stays(run, bf16, monkeypatch):
    """A query that holds NaN gives NaN, and no zeros that look like a result; the others do not change."""
    case, before, fill = Case(2, 2, 70, 300, 64), run(cpu.build, Case(2, 2, 70, 300, 64), bf16), Elements.draw

    def with_nan(self, *shape, scale=1):
        stored, value = fill(self, *shape, scale=scale)
        if shape == before.arrays["q"].shape and not marked:
            marked.append(True)
            stored[1, :, 1, 5] = 0x7FC0 if bf16 else np.nan
        return stored, value

    marked: list[bool] = []
    monkeypatch.setattr(Elements, "draw", with_nan)
    after = run(cpu.build, case, bf16)
    for found, old in ((after.log_sum_exp, before.log_sum_exp), (after.arrays["y"], before.arrays["y"])):
        number, old_number = after.elements.value(found), after.elements.value(old)
        assert np.isnan(number[1, :, 1]).all()
        number[1, :, 1] = old_number[1, :, 1]
        np.testing.assert_array_equal(number, old_number)
