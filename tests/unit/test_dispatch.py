import subprocess
import sys

import numpy as np
import pytest

from mpitrain.ops.dispatch import OPS, numpy_only, op


class DeviceArray:
    """Not a NumPy array, but answers NumPy's functions, as CuPy's arrays do (NEP 13)."""

    def __init__(self, values):
        self.values = np.array(values)

    def __array_ufunc__(self, ufunc, method, *inputs, out):
        plain = [getattr(each, "values", each) for each in (*inputs, *out)]
        ufunc(*plain[: len(inputs)], out=plain[-1])
        return out[0]


@pytest.fixture
def double():
    @op
    def double(x, y):
        """Write y = 2 x."""
        np.multiply(x, 2, out=y)
        return "numpy"

    yield double
    del OPS["double"]


def test_numpy_runs_where_there_is_nothing_else(double):
    x, y = np.arange(3.0), np.empty(3)
    assert double(x, y) == "numpy"
    np.testing.assert_array_equal(y, 2 * x)
    assert double.__doc__ == "Write y = 2 x."
    assert double.name == double.__name__ == "double"


def test_the_kind_of_the_first_array_decides(double):
    double.cpu(lambda x, y: "cpu")
    double.cuda(lambda x, y: "cuda")
    x = np.arange(3.0)
    assert double(x, x) == "cpu"
    assert double(DeviceArray(x), x) == "cuda"
    assert sorted(double.paths) == ["cpu", "cuda"]


def test_device_arrays_answer_the_numpy_function(double):
    double.cpu(lambda x, y: pytest.fail("a device array in the CPU path"))
    y = DeviceArray([0.0, 0.0])
    assert double(DeviceArray([1.0, 2.0]), y) == "numpy"
    np.testing.assert_array_equal(y.values, [2, 4])


def test_what_a_path_does_not_cover_is_left_to_numpy(double):
    @double.cpu
    def only_float32(x, y):
        return "cpu" if x.dtype == np.float32 else False

    assert double(np.zeros(1, np.float32), y=np.zeros(1)) == "cpu"
    assert double(np.zeros(1), y=np.zeros(1)) == "numpy"


def test_none_counts_as_a_result(double):
    double.cpu(lambda x, y: None)
    assert double(np.zeros(1), np.zeros(1)) is None


def test_numpy_only(double):
    double.cpu(lambda x, y: "cpu")
    x = np.zeros(1)
    with numpy_only():
        assert double(x, x) == "numpy"
    assert double(x, x) == "cpu"


def test_paths_in_cuda_are_imported_with_the_first_device_array():
    """In a process of its own: a NumPy array does not import them, another array does, as does the table of ops."""
    program = """
import sys
import numpy as np
from mpitrain.ops.elementwise import relu

class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        raise RuntimeError("the NumPy function")

def loaded():
    return "mpitrain.ops.cuda" in sys.modules

relu(np.ones(3, np.float32), np.empty(3, np.float32))
print(loaded(), "cuda" in relu.paths)
try:
    relu(DeviceArray(), DeviceArray())
except Exception:
    pass
print(loaded(), "cuda" in relu.paths)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False False\nTrue True\n"
