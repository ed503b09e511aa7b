"""A case for every op: arguments and results by which each of its paths is compared with its NumPy function.

A case is a function of (draw, run), called by ``op_paths.py``. ``draw`` makes arrays on a device, ``run(name,
*arguments)`` runs an op by the path that is tested; the case returns the results to compare.
"""

import functools
from itertools import product

import numpy as np

from mpitrain.device import CPU, bfloat16
from mpitrain.ops import OPS
from mpitrain.ops.batchnorm import Norm
from mpitrain.ops.compress import message_bytes
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.dropout import Masks
from mpitrain.ops.gradient import Gradient
from mpitrain.ops.lars import Piece, Pieces, Rates
from mpitrain.ops.reduce import Sources
from mpitrain.ops.rotary import rotary_table
from mpitrain.ops.update import AdamStep, Block
from mpitrain.ops.window import Window

CASES = {}


def covers(*names):
    """Make a function the case of the ops of these names."""

    def register(case):
        assert not set(names) & set(CASES), names
        CASES.update(dict.fromkeys(names, case))
        return case

    return register


SHAPES = [(0,), (1,), (7, 5), (3, 4, 33)]


@covers("relu", "tanh", "sigmoid")
def activations(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("relu", "tanh", "sigmoid"):
            results.append(draw.empty(*shape))
            run(name, draw.normal(*shape), results[-1])
    return results


@covers("relu_dx", "tanh_dx", "sigmoid_dx")
def activations_dx(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("relu_dx", "tanh_dx", "sigmoid_dx"):
            results.append(draw.empty(*shape))
            run(name, draw.normal(*shape), draw.normal(*shape), results[-1])
    return results


@covers("add", "multiply", "add_relu", "add_relu_dx")
def sums_and_products(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("add", "multiply", "add_relu"):
            results.append(draw.empty(*shape))
            run(name, draw.normal(*shape), draw.normal(*shape), results[-1])
        dy, copy = draw.normal(*shape), draw.empty(*shape)
        run("add_relu_dx", draw.normal(*shape), dy, copy)
        results += [dy, copy]
    return results


@covers("convert")
def convert(draw, run):
    results = []
    for shape in SHAPES:
        rounded, back = draw.empty(*shape, dtype=bfloat16()), draw.empty(*shape, dtype=np.float32)
        run("convert", draw.normal(*shape), rounded)
        run("convert", rounded, back)
        results += [rounded, back]
    return results


@covers("silu", "silu_dx")
def silu(draw, run):
    results = []
    for shape in SHAPES:
        s, y, dx = (draw.empty(*shape) for _ in range(3))
        run("silu", draw.normal(*shape), s, y)
        run("silu_dx", s, y, draw.normal(*shape), dx)
        results += [s, y, dx]
    return results


@covers("gelu", "gelu_tanh", "gelu_dx")
def gelu(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("gelu", "gelu_tanh"):
            y, slope, dx = (draw.empty(*shape) for _ in range(3))
            run(name, draw.normal(*shape), y, slope)
            run("gelu_dx", slope, draw.normal(*shape), dx)
            results += [y, slope, dx]
    return results


@covers("linear", "linear_dx", "linear_dw", "column_sum")
def linear(draw, run):
    results = []
    for n, i, o in ((0, 3, 2), (1, 1, 1), (33, 20, 12), (5, 130, 67)):
        x, w, b, dy = draw.normal(n, i), draw.normal(i, o), draw.normal(o), draw.normal(n, o)
        for bias, relu in ((b, False), (None, True)):
            results.append(draw.empty(n, o))
            run("linear", x, w, bias, results[-1], relu)
        dx, dw, db = draw.empty(n, i), draw.empty(i, o), draw.empty(o)
        run("linear_dx", dy, w, dx)
        for accumulate in (False, True):
            run("linear_dw", x, dy, dw, accumulate)
            run("column_sum", dy, db, accumulate)
        results += [dx, dw, db]
    return results


@covers("linear_gelu", "linear_gelu_dx", "linear_dx_gelu", "linear_dx_relu")
def linear_through_activations(draw, run):
    n, i, o = 21, 12, 9
    x, w, b = draw.normal(n, i), draw.normal(i, o), draw.normal(o)
    above, dz, results = draw.normal(o, 4), draw.normal(n, 4), []
    for name in ("gelu", "gelu_tanh"):
        y, dy, dx, db = draw.empty(n, o), draw.normal(n, o), draw.empty(n, o), draw.normal(o)
        kept = run("linear_gelu", x, w, b, y, name, draw.keep)
        run("linear_gelu_dx", dy, kept, name)
        run("linear_dx_gelu", dz, above, kept, dx, Gradient(db, True), name)
        results += [y, dy, dx, db]
    dx, db = draw.empty(n, o), draw.empty(o)
    run("linear_dx_relu", dz, above, draw.normal(n, o), dx, Gradient(db, False))
    return [*results, dx, db]


@covers("conv2d", "conv2d_dx", "conv2d_dw", "conv2d_db")
def conv2d(draw, run):
    results = []
    for window, groups, channels, outputs in (
        (Window((5, 5)), 1, 3, 6),
        (Window((3, 3), padding=(1, 1)), 1, 16, 16),  # Winograd in C
        (Window((3, 2), (2, 1), (1, 0), (1, 2)), 1, 4, 5),
        (Window((3, 3), padding=(1, 1)), 2, 6, 4),
        (Window((3, 3), padding=(1, 1)), 8, 8, 8),
        (Window((1, 1)), 1, 7, 3),
    ):
        for n in (0, 2):
            plan = plan_conv2d(window, (9, 8), groups, channels, outputs)
            x, w, b = draw.normal(n, 9, 8, channels), draw.normal(*window.kernel, channels // groups, outputs), None
            y, dy = draw.empty(n, *plan.output, outputs), draw.normal(n, *plan.output, outputs)
            dx, dw, db = draw.empty(*x.shape), draw.empty(*w.shape), draw.empty(outputs)
            run("conv2d", x, w, draw.normal(outputs) if groups < 3 else b, y, plan)
            run("conv2d_dx", dy, w, dx, plan)
            for accumulate in (False, True):
                run("conv2d_dw", x, dy, dw, plan, accumulate)
                run("conv2d_db", dy, db, accumulate)
            results += [y, dx, dw, db]
    return results


@covers("conv2d_add_relu", "conv2d_dx_add", "conv2d_dx_relu", "conv2d_db_relu")
def conv2d_with_relu(draw, run):
    """Convolutions with what follows them, and dx through what comes before; most have one class of pixels, a group."""
    results = []
    for window, groups, channels, outputs in (
        (Window((3, 3), padding=(1, 1)), 1, 3, 6),
        (Window((3, 2), (2, 1), (1, 0)), 1, 4, 5),
        (Window((3, 3), padding=(1, 1)), 2, 6, 4),
        (Window((3, 3), padding=(1, 1)), 8, 8, 8),
        (Window((1, 1)), 1, 7, 3),
    ):
        for n in (0, 2):
            plan = plan_conv2d(window, (9, 8), groups, channels, outputs)
            x, w = draw.normal(n, 9, 8, channels), draw.normal(*window.kernel, channels // groups, outputs)
            sizes = n, *plan.output, outputs
            for b, residual, relu in (
                (draw.normal(outputs), None, True),
                (None, draw.normal(*sizes), True),
                (draw.normal(outputs), draw.normal(*sizes), False),
            ):
                results.append(draw.empty(*sizes))
                run("conv2d_add_relu", x, w, b, residual, results[-1], plan, relu)
            dy, dx, db = draw.normal(*sizes), draw.empty(*x.shape), draw.normal(channels)
            run("conv2d_dx_add", dy, w, draw.normal(*x.shape), dx, plan)
            results.append(dx.copy())
            for gradient in (None, Gradient(db, True), Gradient(draw.empty(channels), False)):
                run("conv2d_dx_relu", dy, w, x, dx, gradient, plan)
                results += [dx.copy()] if gradient is None else [dx.copy(), gradient.array.copy()]
            for gradient in (None, Gradient(draw.normal(outputs), True), Gradient(draw.empty(outputs), False)):
                dy = draw.normal(*sizes)
                run("conv2d_db_relu", draw.normal(*sizes), dy, gradient)
                results += [dy] if gradient is None else [dy, gradient.array]
    return results


@covers("conv2d_moments")
def conv2d_moments(draw, run):
    """With batch normalization after it, which takes the moments or makes a pass."""
    results = []
    for window, groups, channels, c, n in (
        (Window((3, 3), (2, 1), (1, 1)), 1, 3, 6, 5),
        (Window((1, 1)), 1, 7, 3, 5),
        (Window((3, 3), padding=(1, 1)), 2, 4, 10, 9),
    ):
        plan = plan_conv2d(window, (9, 8), groups, channels, c)
        x, w = draw.normal(n, 9, 8, channels), draw.normal(*window.kernel, channels // groups, c)
        y, z = draw.empty(n, *plan.output, c), draw.empty(n, *plan.output, c)
        moments = run("conv2d_moments", x, w, draw.normal(c), y, plan, draw.keep)
        states = draw.normal(c), draw.device.from_host(np.ones(c, draw.dtype))
        norm = Norm(draw.normal(c), draw.normal(c), *states, 0.1, 1e-5, True, None)
        run("batchnorm_train", y, norm, z, draw.keep, moments)
        results += [y, z, *states]
    return results


@covers("max_pool", "max_pool_argmax", "max_pool_dx", "mean_pool", "mean_pool_dx")
def pools(draw, run):
    results = []
    for window in (Window((2, 2), (2, 2)), Window((3, 3), (3, 3), (1, 1)), Window((1, 2), (2, 2))):
        n, (oh, ow) = 2, window.output((7, 6))
        x = draw.normal(n, 7, 6, 5)
        for relu in (False, True):
            y, again = draw.empty(n, oh, ow, 5), draw.empty(n, oh, ow, 5)
            argmax, dx = draw.empty(n, oh, ow, 5, dtype=np.uint8), draw.empty(*x.shape)
            run("max_pool", x, window, again, relu)
            run("max_pool_argmax", x, window, y, argmax, relu)
            run("max_pool_dx", argmax, draw.normal(n, oh, ow, 5), window, dx)
            results += [again, y, argmax, dx]
        y, dx = draw.empty(n, oh, ow, 5), draw.empty(*x.shape)
        run("mean_pool", x, window, y)
        run("mean_pool_dx", draw.normal(n, oh, ow, 5), window, dx)
        results += [y, dx]
    return results


@covers("global_mean", "global_mean_dx")
def global_mean(draw, run):
    y, dx = draw.empty(3, 6), draw.empty(3, 4, 5, 6)
    run("global_mean", draw.normal(3, 4, 5, 6), y)
    run("global_mean_dx", draw.normal(3, 6), dx)
    return [y, dx]


@covers("batchnorm_train", "batchnorm_evaluate", "batchnorm_backward")
def batchnorm(draw, run):
    results = []
    for relu, added in product((False, True), repeat=2):
        for sums in (None, lambda total: draw.device.to_host(total)):
            x, y, c = draw.normal(3, 4, 5, 6), draw.empty(3, 4, 5, 6), 6
            states = draw.normal(c), draw.device.from_host(np.ones(c, draw.dtype))
            norm = Norm(draw.normal(c), draw.normal(c), *states, 0.1, 1e-5, relu, sums)
            residual = draw.normal(*x.shape) if added else None
            kept = run("batchnorm_train", x, norm, y, draw.keep, None, residual)
            dw, db, dx, dy = draw.empty(c), draw.normal(c), draw.empty(*x.shape), draw.normal(*x.shape)
            gradients = Gradient(dw, False), Gradient(db, True)
            seen, masks = y if relu else None, relu and added
            run("batchnorm_backward", dy, x, seen, norm, kept, *gradients, dx, masks)
            results += [y, *states, dw, db, dx, *([dy] if masks else [])]
            results.append(draw.empty(*x.shape))
            run("batchnorm_evaluate", x, norm, results[-1], residual)
    return results


@covers("batchnorm", "batchnorm_statistics", "batchnorm_sums", "batchnorm_dx")
def batchnorm_passes(draw, run):
    results, c = [], 6
    for relu in (False, True):
        x, y, dy, dx = draw.normal(3, 4, 5, c), draw.empty(3, 4, 5, c), draw.normal(3, 4, 5, c), draw.empty(3, 4, 5, c)
        mean, squares, sums, dots = np.empty((4, c))
        run("batchnorm_statistics", x, mean, squares)
        vectors = draw.rng.standard_normal((5, c))
        run("batchnorm", x, mean, vectors[0], vectors[1], y, relu)
        seen = y if relu else None
        run("batchnorm_sums", dy, x, mean, seen, sums, dots)
        run("batchnorm_dx", dy, x, mean, seen, *vectors[2:], dx)
        results += [mean, squares, y, sums, dots, dx]
    return results


@covers("add_layernorm", "add_layernorm_backward")
def add_layernorm(draw, run):
    results = []
    for m, c in ((0, 3), (40, 21), (3, 320), (150, 32)):
        x, w, dy, s, y, dx = (draw.normal(*shape) for shape in ((m, c), (c,), (m, c), (m, c), (m, c), (m, c)))
        for residual in (None, draw.normal(m, c)):
            into = x if residual is None else s
            kept = run("add_layernorm", x, residual, w, draw.normal(c), 1e-5, into, y, draw.keep)
            dw, db, more = draw.empty(c), draw.normal(c), None if residual is None else draw.normal(m, c)
            run("add_layernorm_backward", dy.copy(), kept, w, Gradient(dw, False), Gradient(db, True), more, dx)
            results += [into.copy(), y.copy(), dw, db, dx.copy()]
    return results


@covers("add_rmsnorm", "add_rmsnorm_backward")
def add_rmsnorm(draw, run):
    results = []
    for m, c in ((0, 3), (40, 21), (3, 320), (150, 32)):
        x, w, dy, s, y = (draw.normal(*shape) for shape in ((m, c), (c,), (m, c), (m, c), (m, c)))
        for residual in (None, draw.normal(m, c)):
            into = x if residual is None else s
            kept = run("add_rmsnorm", x, residual, w, 1e-5, into, y, draw.keep)
            dw, dx, more = draw.normal(c), dy.copy(), None if residual is None else draw.normal(m, c)
            run("add_rmsnorm_backward", dx, kept, w, Gradient(dw, True), more, dx)
            results += [into.copy(), y.copy(), dw, dx]
    return results


@covers("layernorm", "layernorm_dw", "layernorm_dx", "layernorm_gradients", "layernorm_backward")
def layernorm(draw, run):
    results = []
    for m, c in ((0, 3), (40, 21), (150, 32)):
        x, w, dy = draw.normal(m, c), draw.normal(c), draw.normal(m, c)
        z, y, r, dx = draw.empty(m, c), draw.empty(m, c), draw.empty(m, 1), draw.empty(m, c)
        run("layernorm", x, w, draw.normal(c), 1e-5, z, r, y)
        dw, db = draw.empty(c), draw.normal(c)
        run("layernorm_gradients", dy, z, Gradient(dw, False), Gradient(db, True))
        if draw.device is CPU:  # on a GPU, only as a part of the op before
            results.append(draw.empty(2, c))
            run("layernorm_dw", dy, z, results[-1])
        both, again = Gradient(draw.normal(c), True), Gradient(draw.empty(c), False)
        run("layernorm_backward", draw.normal(m, c), z, r, w, both, again, dx)
        results += [both.array, again.array, dx.copy()]
        run("layernorm_dx", dy, z, r, w, dx)
        results += [y, z, r, dw, db, dx]
    return [x for x in results if x.shape[0] != 2 or x.ndim != 2]


@covers("rmsnorm", "rmsnorm_backward")
def rmsnorm(draw, run):
    results = []
    for m, c in ((0, 3), (140, 21), (3, 64)):
        x, w, dy = draw.normal(m, c), draw.normal(c), draw.normal(m, c)
        y, r, dx, dw = draw.empty(m, c), draw.empty(m, 1), draw.empty(m, c), draw.empty(c)
        run("rmsnorm", x, w, 1e-5, r, y)
        for accumulate in (False, True):
            run("rmsnorm_backward", dy, x, r, w, Gradient(dw, accumulate), dx)
        run("rmsnorm_backward", dy, x, r, w, Gradient(draw.empty(c), False), dy)
        results += [y, r, dw, dx, dy]
    return results


@covers("rotary")
def rotary(draw, run):
    table, results = rotary_table(30, 10, 100.0), []
    table = draw.device.from_host(table.astype(draw.dtype))
    for positions, offset in ((None, 0), (None, 23), (draw.integers(0, 30, 2, 7), 0)):
        for back in (False, True):
            rows = draw.normal(2, 7, 5, 10)  # of which three heads turn
            run("rotary", rows.transpose(0, 2, 1, 3)[:, 1:4], table, positions, offset, back)
            results.append(rows)
    return results


@covers("swiglu", "swiglu_dx")
def swiglu(draw, run):
    results = []
    for m, c in ((0, 3), (9, 33), (3, 64)):
        x, y, dx = draw.normal(m, 2 * c), draw.empty(m, c), draw.empty(m, 2 * c)
        run("swiglu", x, y)
        run("swiglu_dx", x, draw.normal(m, c), dx)
        results += [y, dx]
    return results


@covers("softmax", "softmax_dx")
def softmax(draw, run):
    y, dx = draw.empty(9, 33), draw.empty(9, 33)
    run("softmax", draw.normal(9, 33), y)
    run("softmax_dx", y, draw.normal(9, 33), dx)
    return [y, dx]


@covers("cross_entropy", "cross_entropy_dx")
def cross_entropy(draw, run):
    results = []
    for m, k, smoothing in ((0, 3, 0.0), (50, 7, 0.0), (50, 70, 0.1)):
        e, sums = draw.empty(m, k), draw.empty(m + 1, 3)
        totals, state = run("cross_entropy", draw.normal(m, k), draw.integers(0, k, m), smoothing, -100, e, sums)
        run("cross_entropy_dx", e, state, smoothing)
        results += [draw.device.to_host(totals), e]
    # with class weights there is no path in C: NumPy weighs what softmax_cross_entropy has computed
    forward, backward = OPS["cross_entropy"], OPS["cross_entropy_dx"]
    if draw.device is not CPU:
        forward, backward = functools.partial(run, forward.name), functools.partial(run, backward.name)
    e, sums, weights = draw.empty(50, 7), draw.empty(51, 3), draw.normal(7) ** 2
    totals, state = forward(draw.normal(50, 7), draw.integers(0, 7, 50), 0.1, -100, e, sums, weights)
    backward(e, state, 0.1)
    return [*results, draw.device.to_host(totals), e]


@covers("cross_entropy_gradient")
def cross_entropy_gradient(draw, run):
    results, totals = [], None if draw.device is CPU else draw.empty(3)
    for m, k, smoothing, weighted in (
        (0, 3, 0.0, False),
        (50, 7, 0.0, False),
        (50, 70, 0.1, True),
        (3, 4100, 0.0, False),
    ):
        logits, targets = draw.normal(m, k), draw.integers(0, k, m)
        weights = draw.normal(k) ** 2 if weighted else None
        found = run("cross_entropy_gradient", logits, targets, smoothing, 2, weights, totals)
        results += [draw.device.to_host(found), logits]
    return results


@covers("softmax_cross_entropy", "softmax_cross_entropy_dx")
def softmax_cross_entropy(draw, run):
    e, row_sums, targets = draw.empty(20, 9), draw.empty(20, 1), draw.integers(0, 9, 20)
    losses = run("softmax_cross_entropy", draw.normal(20, 9), targets, 0.1, e, row_sums)
    before = e.copy()
    run("softmax_cross_entropy_dx", e, row_sums, targets, 0.1, np.arange(20) % 3 > 0)
    return [losses, before, row_sums, e]


@covers("attention", "attention_dx")
def attention(draw, run):
    n, length, size, results = 2, 17, 8, []
    rows = draw.device.from_host(np.repeat([[0, 1, 5], [2, 3, 4]], [4, 12, 1], axis=1))
    some = draw.device.from_host(np.array([5, 17]))
    for heads, kv_heads, queries, *how in (
        (6, 2, 9, True, None, None, Masks(0.3, (12, 3, 5, 2**33))),
        (3, 3, 17, True, None),
        (3, 3, 17, False, some),
        (6, 2, 17, True, None, rows),
        (4, 1, 9, True, some, rows),
        (2, 2, 20, True, None),
    ):
        (q, dy), (k, v) = draw.normal(2, n, heads, queries, size), draw.normal(2, n, kv_heads, length, size)
        (y, dq), (dk, dv) = draw.empty(2, *q.shape), draw.empty(2, *k.shape)
        log_sum_exp = draw.empty(n, heads, queries)
        run("attention", q, k, v, y, log_sum_exp, 0.3, *how)
        run("attention_dx", dy, q, k, v, log_sum_exp, dq, dk, dv, 0.3, *how)
        results += [y, log_sum_exp, dq, dk, dv]
    return results


@covers("embedding", "embedding_dw", "check_ids")
def embedding(draw, run):
    ids, w, y, dw = draw.integers(0, 11, 60), draw.normal(11, 9), draw.empty(60, 9), draw.normal(11, 9)
    run("check_ids", ids, 11)
    run("embedding", ids, w, y)
    run("embedding_dw", ids, draw.normal(60, 9), dw)
    return [y, dw]


@covers("dropout_mask", "dropout", "dropout_dx")
def dropout(draw, run):
    mask, x, y = draw.empty(7, 40), draw.normal(7, 5, 8), draw.empty(7, 5, 8)
    run("dropout_mask", mask, 0.3, (12, 3, 5, 2**33))
    masks, dx = Masks(0.3, (12, 3, 5, 2**33)), draw.normal(7, 5, 8)
    kept = run("dropout", x, masks, y, lambda name, shape, dtype: draw.empty(*shape))
    run("dropout_dx", dx, masks, kept, dx)
    return [mask, y, dx]


@covers("squared_error", "squared_error_dx")
def squared_error(draw, run):
    y, t, difference, sums = draw.normal(70, 3), draw.normal(70, 3), draw.empty(70, 3), draw.empty(257, 3)
    totals = run("squared_error", y, t, difference, sums)
    run("squared_error_dx", difference)
    return [draw.device.to_host(totals), difference]


@covers("sum_over_ranks")
def sum_over_ranks(draw, run):
    results = []
    for shape in ((2, 0), (1, 9), (4, 33), (7, 1024)):
        results.append(draw.empty(shape[1]))
        run("sum_over_ranks", draw.normal(*shape), results[-1])
    return results


@covers("sum_of_squares", "sum_sources")
def sums(draw, run):
    arrays, target = [draw.normal(3001) for _ in range(3)], draw.empty(3001)
    squares = run("sum_sources", target, Sources(arrays))
    return [target, squares, run("sum_of_squares", arrays[0])]


@covers("sum_of_squares_in_parts")
def squares_in_parts(draw, run):
    parts = draw.empty(7)
    run("sum_of_squares_in_parts", draw.normal(3001), parts)
    return [draw.device.to_host(parts).sum()]


def block(draw, slots, bounds=(0, 160, 320, 500)):
    """Return a block of 500 elements, some of which decay: parameters begin at multiples of 16 elements."""
    moments = tuple(np.abs(draw.normal(500)) for _ in range(slots))
    return Block(draw.normal(500), Sources([draw.normal(500)]), moments, np.array(bounds, np.int64))


@covers("step_numbers")
def step_numbers(draw, run):
    results = []
    for max_norm in (0.0, 0.01, 1e6):
        given, numbers = draw.device.from_host(np.array([0.3, 1e-3, 0.5])), draw.empty(4)
        run("step_numbers", np.abs(draw.normal(3)) + 5, np.abs(draw.normal(256)), given, max_norm, numbers)
        results.append(numbers)
    return results


@covers("sgd_update")
def sgd(draw, run):
    results = []
    for slots, momentum, nesterov in ((0, 0.0, False), (1, 0.9, False), (1, 0.9, True)):
        made = block(draw, slots)
        run("sgd_update", made.w, made, 0.1, 0.01, momentum, nesterov)
        results += [made.w, *made.slots]
    return results


@covers("pair_products", "pair_products_dv")
def pairs(draw, run):
    results = []
    for shape in ((0, 3, 4), (1, 1, 1), (5, 7, 16), (3, 27, 33)):
        v, p, dv = draw.normal(*shape), draw.empty(shape[0], shape[1], shape[1]), draw.empty(*shape)
        run("pair_products", v, p)
        run("pair_products_dv", draw.normal(*p.shape), v, dv)
        results += [p, dv]
    return results


@covers("adagrad_update")
def adagrad(draw, run):
    made = block(draw, 1)
    run("adagrad_update", made.w, made, 0.5, 0.1, 0.01, 1e-8)
    return [made.w, *made.slots]


@covers("adam_update")
def adam(draw, run):
    results = []
    for decay, shrink in ((0.1, 0.0), (0.0, 0.01)):
        made = block(draw, 2)
        run("adam_update", made.w, made, AdamStep(0.5, decay, shrink, 0.9, 0.999, 0.01, 1e-8))
        results += [made.w, *made.slots]
    return results


@covers("lars_update")
def lars(draw, run):
    whole = 0, 500
    blocks = [[block(draw, 1, ())], [block(draw, 1, whole), block(draw, 1, whole)]]
    pieces = Pieces([Piece(i, i == 1, each) for i, each in enumerate(blocks)], 2, None)
    run("lars_update", blocks[0][0].w, pieces, Rates(0.1, 0.5, 0.9, 0.01, 0.02))
    return [array for each in blocks for made in each for array in (made.w, *made.slots)]


CODECS = {"bf16": (1, 2, ()), "int8": (64, 64, (64,)), "fp16": (256, 512, ()), "sign": (256, 32, ())}


@covers(*(f"{what}_{codec}" for codec in CODECS for what in ("encode", "decode")))
def messages(draw, run):
    """Messages as they are decoded, and the errors that are kept; factors whose products are exact."""
    results = []
    for n in (0, 1, 63, 256, 1000):
        x, error = draw.normal(n), draw.normal(n)
        for codec, (block, payload, options) in CODECS.items():
            for kept, add in ((error.copy(), False), (draw.empty(0), True)):
                size = 2 * n if codec == "bf16" else message_bytes(n, block, payload)
                message, y = draw.empty(size, dtype=np.uint8), draw.normal(n) if add else draw.empty(n)
                run(f"encode_{codec}", x, kept, message, 0.5, 0.25, 2.0, *options)
                run(f"decode_{codec}", message, y, add, *options)
                results += [y, kept]
    return results


@covers("thin_product")
def thin_products(draw, run):
    results = []
    for n, m, r in [(0, 3, 1), (1, 1, 1), (5, 33, 4), (40, 7, 2)]:
        for add in (False, True):
            results.append(draw.normal(n, m) if add else draw.empty(n, m))
            run("thin_product", draw.normal(n, r), draw.normal(r, m), results[-1], add)
    return results


@covers("largest_places")
def places_of_the_largest(draw, run):
    results = []
    for n, k in [(1, 1), (64, 7), (1000, 1), (1000, 999)]:
        results.append(draw.integers(0, 1, k))
        run("largest_places", draw.normal(n), results[-1])
    return results


@covers("add_error", "keep_rest", "spoil", "step_factors")
def carried_errors(draw, run):
    """The weight of the step as numbers, and as the device has it; once with a NaN."""
    results = []
    for n in (0, 1, 1030):
        x, error, message, bad = draw.normal(n), draw.normal(n), draw.normal(n), draw.empty(1)
        weight, factors = draw.device.from_host(np.full(1, 0.5, draw.dtype)), draw.empty(3)
        run("step_factors", weight, factors)
        for inject, keep, inverse in ((0.5, 0.25, 2.0), tuple(factors[k] for k in range(3))):
            for number in (0.0, np.nan):
                bad.fill(number)
                run("add_error", x, error, inject, bad)
                run("add_error", x, error[:0], 0.0, None)
                run("keep_rest", x, error, keep, inverse, bad)
                run("spoil", message, bad)
                results += [x.copy(), error.copy(), message.copy(), bad.copy(), factors]
    return results


@covers("take_places", "put_places", "clear_places")
def places_of_an_array(draw, run):
    results = []
    for n, k in ((0, 0), (1, 1), (500, 300)):
        places = draw.device.from_host(draw.rng.choice(n, k, replace=False).astype(np.int32))
        u, values = draw.normal(n), draw.empty(k)
        run("take_places", u, places, values, 0.5)
        results.append(values.copy())
        for add in (True, False):
            run("put_places", u, places, values, add)
            results.append(u.copy())
        run("clear_places", u, places)
        results.append(u)
    return results


@covers("project", "orthonormalize", "restart_columns", "keep_finite")
def thin_factors(draw, run):
    results = []
    for n, m, r in ((1, 1, 1), (40, 33, 3), (7, 130, 4)):
        matrix, basis, left, right = draw.normal(n, m), draw.normal(m, r), draw.empty(n, r), draw.empty(m, r)
        basis[:, 0] = 0
        draws = draw.normal(m, r)
        run("restart_columns", basis, lambda draws=draws: draws)
        run("project", matrix, basis, left, False)
        run("orthonormalize", left)
        run("project", matrix, left, right, True)
        run("keep_finite", right, basis)
        results += [left, right, basis.copy()]
        right.fill(np.inf)
        run("keep_finite", right, basis)
        results.append(basis)
    return results
