"""Products of matrices, alone and with what follows them."""

from mpitrain.ops.gradient import Gradient
from tests.op_cases.registry import covers


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


@covers("pair_products", "pair_products_dv")
def pairs(draw, run):
    results = []
    for shape in ((0, 3, 4), (1, 1, 1), (5, 7, 16), (3, 27, 33)):
        v, p, dv = draw.normal(*shape), draw.empty(shape[0], shape[1], shape[1]), draw.empty(*shape)
        run("pair_products", v, p)
        run("pair_products_dv", draw.normal(*p.shape), v, dv)
        results += [p, dv]
    return results
