import numpy as np
import pytest

from mpitrain.arena import HEADER, Arena, Parameter, State
from mpitrain.context import Context
from mpitrain.device import ALIGNMENT
from mpitrain.layers import BatchNorm2d, Layer, Linear, ReLU, Sequential, init


def three_linears():
    return Sequential(Linear(3, 5), ReLU(), Linear(5, 5), ReLU(), Linear(5, 2))


def bind(model, **options):
    return Arena(model.named_parameters(), model.named_states(), **options)


def run(model, arena, microbatches=1, skip=()):
    """Run one step and return the names in the order in which gradients became ready."""
    ready = []
    arena.on_ready = lambda p: ready.append(p.name)
    arena.begin_step(microbatches)
    ctx = Context()
    for _ in range(microbatches):
        y = model.forward(np.ones((4, 3), np.float32), ctx)
        model.backward(np.ones_like(y), ctx)
    arena.end_backward()
    return ready


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_every_view_starts_on_a_cache_line(dtype):
    arena = bind(three_linears(), dtype=dtype)
    end = HEADER
    for p in arena.parameters:
        assert p.start >= end
        end = p.stop
        for buffer, view in ((arena.values, p.data), (arena.gradients, p.grad)):
            assert view.shape == p.shape
            assert view.dtype == dtype
            assert np.shares_memory(view, buffer[p.start : p.stop])
            assert view.ctypes.data % ALIGNMENT == 0
    assert end <= arena.size == len(arena.values) == len(arena.gradients)
    assert arena.num_parameters == 3 * 5 + 5 + 5 * 5 + 5 + 5 * 2 + 2


def test_gaps_and_header_start_at_zero():
    arena = bind(three_linears())
    used = np.zeros(arena.size, bool)
    for p in arena.parameters:
        used[p.start : p.stop] = True
    assert not used[:HEADER].any()
    np.testing.assert_array_equal(arena.values[~used], 0)
    assert np.shares_memory(arena.header, arena.gradients)


def test_the_last_layer_comes_first():
    model = three_linears()
    arena = bind(model)
    names = ["4.bias", "4.weight", "2.bias", "2.weight", "0.bias", "0.weight"]
    assert [p.name for p in arena.parameters] == names
    assert [p.index for p in arena.parameters] == list(range(6))
    assert list(arena.named_tensors()) == names[::-1]


def test_gradients_become_ready_from_the_last_layer_to_the_first():
    model = three_linears()
    arena = bind(model)
    for microbatches in (1, 3):
        ready = run(model, arena, microbatches)
        assert sorted(ready) == sorted(p.name for p in arena.parameters)
        assert [name[0] for name in ready] == ["4", "4", "2", "2", "0", "0"]


def test_microbatches_add_up():
    model = three_linears()
    arena = bind(model)
    run(model, arena)
    once = arena.gradients.copy()
    run(model, arena, microbatches=3)
    np.testing.assert_allclose(arena.gradients, 3 * once, rtol=1e-5)


class Twice(Layer):
    """y = w^T (w x): one weight, two uses."""

    def __init__(self):
        self.up, self.down = Linear(3, 3, bias=False), Linear(3, 3, bias=False)
        self.down.weight = self.up.weight
        self.up.weight.uses = 2

    def forward(self, x, ctx):
        return self.down.forward(self.up.forward(x, ctx), ctx)

    def backward(self, dy, ctx):
        return self.up.backward(self.down.backward(dy, ctx), ctx)


def test_a_shared_weight_has_one_place_and_is_ready_after_its_last_use():
    model = Twice()
    arena = bind(model)
    assert [p.name for p in arena.parameters] == ["up.weight"]
    assert arena.num_parameters == 9
    for microbatches in (1, 2):
        assert run(model, arena, microbatches) == ["up.weight"]
    run(model, arena)
    w, x = arena.parameters[0].data, np.ones((4, 3))
    np.testing.assert_allclose(
        arena.parameters[0].grad, (x @ w).T @ np.ones((4, 3)) + x.T @ np.ones((4, 3)) @ w.T, rtol=1e-5
    )


def test_end_backward_zeroes_what_nobody_has_written():
    model = three_linears()
    arena = bind(model)
    arena.gradients.fill(9)
    ready = []
    arena.on_ready = lambda p: ready.append(p.name)
    arena.begin_step()
    np.testing.assert_array_equal(arena.header, 0)
    written = arena.parameters[0]
    written.grad[...] = 3
    written.written()
    arena.end_backward()
    np.testing.assert_array_equal(written.grad, 3)
    for p in arena.parameters[1:]:
        np.testing.assert_array_equal(p.grad, 0)
    assert ready == [p.name for p in arena.parameters]


def test_first_values_depend_on_the_seed_and_the_name_alone():
    small = bind(Sequential(Linear(3, 5)), seed=1).named_tensors()
    large = bind(Sequential(Linear(3, 5), Linear(5, 9)), seed=1).named_tensors()
    other = bind(Sequential(Linear(3, 5)), seed=2).named_tensors()
    np.testing.assert_array_equal(small["0.weight"], large["0.weight"])
    assert (small["0.weight"] != other["0.weight"]).all()
    assert (large["1.weight"][:3, :5] != large["0.weight"]).all()


def test_states_are_kept_beside_the_parameters():
    model = Sequential(BatchNorm2d(3), BatchNorm2d(2))
    arena = bind(model)
    assert [s.name for s in arena.state_list] == ["0.running_mean", "0.running_var", "1.running_mean", "1.running_var"]
    np.testing.assert_array_equal(arena.states, [0] * 3 + [1] * 3 + [0] * 2 + [1] * 2)
    model[1].running_var.data[:] = 5
    np.testing.assert_array_equal(arena.named_tensors()["1.running_var"], 5)
    np.testing.assert_array_equal(arena.states[-2:], 5)


def test_a_parameter_that_is_not_bound_can_be_written():
    p = Parameter((2,), init.zeros)
    assert not p.accumulate
    p.written()
    assert p.accumulate


def test_an_arena_forgets_the_one_before():
    model, ready = three_linears(), []
    bind(model).on_ready = lambda p: ready.append(p.name)
    arena = bind(model)
    arena.begin_step()
    for p in arena.parameters:
        p.written()
    assert ready == []


def test_a_model_without_parameters():
    arena = Arena([], [("count", State((1,), fill=4))])
    assert arena.size == HEADER
    assert arena.num_parameters == 0
    assert list(arena.named_tensors()) == ["count"]
