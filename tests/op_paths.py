"""Comparison of one path of an op with its NumPy function in float64, by its case in ``op_cases``."""

import numpy as np

from mpitrain.device import CPU
from mpitrain.ops import OPS
from mpitrain.ops.dispatch import numpy_only
from tests.op_cases import CASES


class Draw:
    """Arrays on a device: the same numbers, rounded to fp32, in any dtype."""

    def __init__(self, device=CPU, dtype=np.float32, seed=0):
        self.device, self.dtype, self.rng = device, dtype, np.random.default_rng(seed)

    def normal(self, *shape):
        return self.device.from_host(self.rng.standard_normal(shape).astype(np.float32).astype(self.dtype))

    def empty(self, *shape, dtype=None):
        """Return memory that holds what must be overwritten."""
        dtype = np.dtype(self.dtype if dtype is None else dtype)
        return self.device.from_host(np.full(shape, np.nan if dtype.kind == "f" else 77, dtype))

    def integers(self, low, high, *shape):
        return self.device.from_host(self.rng.integers(low, high, shape))

    def keep(self, name, shape, dtype=None):
        return self.device.empty(shape, self.dtype if dtype is None else dtype)


class Runner:
    """Runs ops by one path ("cpu", "cuda") or, with None, by their NumPy functions; notes which had that path."""

    def __init__(self, path):
        self.path, self.ran = path, set()

    def __call__(self, name, *arguments):
        op = OPS[name]
        if self.path not in op.paths:
            return op(*arguments)
        result = op.paths[self.path](*arguments)
        assert result is not False, f"the {self.path} path of {name} does not cover the arguments of its case"
        self.ran.add(name)
        return result


def check_path(name, path, device=CPU, tolerance=1e-4):
    """Compare a path of an op, in fp32, with the NumPy function in float64."""
    case, runner = CASES[name], Runner(path)
    with numpy_only():
        expected = case(Draw(dtype=np.float64), Runner(None))
    found = case(Draw(device), runner)
    assert name in runner.ran, f"the case of {name} does not run it"
    assert len(found) == len(expected)
    for i, (mine, oracle) in enumerate(zip(found, expected, strict=True)):
        mine, oracle = (np.asarray(d.to_host(x), np.float64) for d, x in ((device, mine), (CPU, oracle)))
        scale = max(1.0, float(np.abs(oracle).max(initial=0, where=np.isfinite(oracle))))
        np.testing.assert_allclose(mine, oracle, rtol=0, atol=tolerance * scale, err_msg=f"{name} by {path}, {i}")
