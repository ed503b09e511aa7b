import numpy as np

from mpitrain.device import ALIGNMENT
from mpitrain.saved import Saved


def test_the_same_memory_in_every_step():
    saved, owner = Saved(), object()
    first = saved.empty(owner, "y", (4, 3))
    assert first.shape == (4, 3)
    assert first.dtype == np.float32
    assert first.ctypes.data % ALIGNMENT == 0
    assert saved.empty(owner, "y", (4, 3)) is first


def test_names_and_owners_have_memory_of_their_own():
    saved, a, b = Saved(), object(), object()
    buffers = [
        saved.empty(a, "x", (5,)),
        saved.empty(a, "y", (5,)),
        saved.empty(b, "x", (5,)),
        saved.scratch("x", (5,)),
    ]
    for i, buffer in enumerate(buffers):
        assert not any(np.shares_memory(buffer, other) for other in buffers[:i])


def test_a_ragged_batch_is_a_view_of_the_same_memory():
    saved, owner = Saved(), object()
    large = saved.empty(owner, "y", (8, 3))
    small = saved.empty(owner, "y", (2, 3))
    assert small.shape == (2, 3)
    assert small.flags.c_contiguous
    assert np.shares_memory(small, large[:2])
    assert saved.empty(owner, "y", (0, 3)).shape == (0, 3)
    assert np.shares_memory(saved.empty(owner, "y", (8, 3)), large)


def test_a_larger_batch_grows_the_memory():
    saved, owner = Saved(), object()
    saved.empty(owner, "y", (2, 3))
    large = saved.empty(owner, "y", (50, 3))
    assert large.shape == (50, 3)
    assert np.shares_memory(saved.empty(owner, "y", (2, 3)), large)


def test_dtypes():
    saved, owner = Saved(dtype=np.float64), object()
    assert saved.empty(owner, "y", (2,)).dtype == np.float64
    assert saved.empty(owner, "mask", (2,), bool).dtype == bool
    assert saved.scratch("y", (3,), np.int32).dtype == np.int32


def test_one_name_may_change_its_dtype():
    saved = Saved()
    assert saved.scratch("mask", (4,), bool).dtype == bool
    assert saved.scratch("mask", (4,)).dtype == np.float32
    assert saved.scratch("mask", (4,), bool).dtype == bool


def test_it_holds_what_layers_save():
    saved, layer = Saved(training=False, seed=3), object()
    saved[layer] = "x"
    assert saved[layer] == "x"
    assert (saved.training, saved.seed, saved.step, saved.first) == (False, 3, 0, 0)
    assert {saved: 1}[saved] == 1
