from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mpitrain.context import Context
from mpitrain.device import ALIGNMENT, CPU


def test_the_same_memory_in_every_step():
    ctx, owner = Context(), object()
    first = ctx.empty(owner, "y", (4, 3))
    assert first.shape == (4, 3)
    assert first.dtype == np.float32
    assert first.ctypes.data % ALIGNMENT == 0
    assert ctx.empty(owner, "y", (4, 3)) is first


def test_names_and_owners_have_memory_of_their_own():
    ctx, a, b = Context(), object(), object()
    buffers = [
        ctx.empty(a, "x", (5,)),
        ctx.empty(a, "y", (5,)),
        ctx.empty(b, "x", (5,)),
        CPU.workspace("x", (5,), np.float32),
    ]
    for i, buffer in enumerate(buffers):
        assert not any(np.shares_memory(buffer, other) for other in buffers[:i])


def test_a_ragged_batch_is_a_view_of_the_same_memory():
    ctx, owner = Context(), object()
    large = ctx.empty(owner, "y", (8, 3))
    small = ctx.empty(owner, "y", (2, 3))
    assert small.shape == (2, 3)
    assert small.flags.c_contiguous
    assert np.shares_memory(small, large[:2])
    assert ctx.empty(owner, "y", (0, 3)).shape == (0, 3)
    assert np.shares_memory(ctx.empty(owner, "y", (8, 3)), large)


def test_a_larger_batch_grows_the_memory():
    ctx, owner = Context(), object()
    ctx.empty(owner, "y", (2, 3))
    large = ctx.empty(owner, "y", (50, 3))
    assert large.shape == (50, 3)
    assert np.shares_memory(ctx.empty(owner, "y", (2, 3)), large)


def test_dtypes():
    ctx, owner = Context(dtype=np.float64), object()
    assert ctx.empty(owner, "y", (2,)).dtype == np.float64
    assert ctx.empty(owner, "mask", (2,), bool).dtype == bool
    assert ctx.empty(owner, "y", (3,), np.int32).dtype == np.int32


def test_one_name_may_change_its_dtype():
    ctx = Context()
    assert ctx.empty(ctx, "mask", (4,), bool).dtype == bool
    assert ctx.empty(ctx, "mask", (4,)).dtype == np.float32
    assert ctx.empty(ctx, "mask", (4,), bool).dtype == bool


def test_it_holds_what_layers_save():
    ctx, layer = Context(training=False, seed=3), object()
    ctx[layer] = "x"
    assert ctx[layer] == "x"
    assert (ctx.training, ctx.seed, ctx.step, ctx.first) == (False, 3, 0, 0)
    assert {ctx: 1}[ctx] == 1


def test_memory_of_backward_has_one_owner():
    owner = object()
    first = Context()
    second, third = Context(share=first), Context(share=first)
    assert second.backward.empty(owner, "dx", (6,)) is first.backward.empty(owner, "dx", (6,))
    third.empty(owner, "y", (10,))
    assert [ctx.num_bytes for ctx in (first, second, third)] == [24, 0, 40]
    second.later = []
    second.backward.empty(owner, "dx", (6,))
    assert [ctx.num_bytes for ctx in (first, second, third)] == [48, 0, 40]


def test_repeated_computations_take_turns():
    """The n-th array of one lies where the n-th array of the other lies; a block becomes as large as the largest."""
    ctx, a, b = Context(), object(), object()
    for _ in range(2):
        of_a, _ = ctx.repeat(a)
        first, second = of_a.empty(a, "y", (3, 2)), of_a.backward.empty(a, "dx", (4,))
        assert not np.shares_memory(first, second)
        of_b, _ = ctx.repeat(b)
        large, mask = of_b.empty(b, "y", (5, 5)), of_b.empty(b, "mask", (7,), bool)
        assert (large.dtype, mask.dtype, large.shape, mask.shape) == (np.float32, bool, (5, 5), (7,))
        assert large.ctypes.data % ALIGNMENT == mask.ctypes.data % ALIGNMENT == 0
        assert not np.shares_memory(large, mask)
    assert np.shares_memory(first, large)
    assert np.shares_memory(second, mask)
    assert ctx.num_bytes == large.nbytes + second.nbytes


def test_the_mark_of_repeated_computations_changes_with_their_memory():
    ctx, a, b = Context(), object(), object()
    other = Context(share=ctx)
    _, mark = ctx.repeat(a)
    assert ctx.repeat(a, mark)[1] is mark
    ctx.later = []
    assert ctx.repeat(a, mark)[1] is not mark
    ctx.later = None
    assert ctx.repeat(a, mark)[1] is mark, "it had other memory meanwhile"
    for use in (lambda: ctx.repeat(a), lambda: ctx.repeat(b), lambda: other.repeat(a)):
        _, mark = ctx.repeat(a)
        use()
        assert ctx.repeat(a, mark)[1] is not mark


def test_scratch_memory_belongs_to_a_thread():
    def scratch():
        return CPU.workspace("test", (5,), np.float32)

    here = scratch()
    assert scratch() is here
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(scratch).result(timeout=20)
        assert pool.submit(scratch).result(timeout=20) is there
    assert not np.shares_memory(here, there)
