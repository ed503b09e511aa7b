import numpy as np

from mpitrain.ops import OPS
from tests.gradients import numeric_gradient


def test_central_differences():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 5, 7))
    y, dx = np.empty_like(x), np.empty_like(x)

    def objective():
        OPS["softmax"](x, y)
        return float(np.sum(y * dy))

    objective()
    OPS["softmax_dx"](y, dy, dx)
    places = np.arange(x.size)
    np.testing.assert_allclose(dx.reshape(-1), numeric_gradient(objective, x, places), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-12)


def test_large_numbers_and_no_rows():
    x = np.array([[1000.0, 999.0, -1000.0]])
    y = np.empty_like(x)
    OPS["softmax"](x, y)
    np.testing.assert_allclose(y, [[1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0]])
    empty = np.empty((0, 3))
    OPS["softmax"](empty, empty)
    OPS["softmax_dx"](empty, empty, empty)
