"""Every op has a case, and its path in C computes what its NumPy function says; CUDA's is in tests/gpu."""

import pytest

from mpitrain.cli.kernel.names import oracle_test
from mpitrain.ops import OPS
from tests.cpu_kernels import levels, use
from tests.op_cases import CASES
from tests.op_paths import check_path

CPU_OPS = sorted(name for name, op in OPS.items() if "cpu" in op.paths)


def test_every_path_has_a_case():
    missing = {f"{name} ({', '.join(op.paths)})" for name, op in OPS.items() if op.paths and name not in CASES}
    assert not missing, "write a case in tests/op_cases"
    assert set(CASES) <= set(OPS)


@levels
@pytest.mark.parametrize("name", CPU_OPS)
def test_cpu_path(kernels, level, threads, name):
    use(level, threads)
    check_path(name, "cpu")


def test_a_wrong_path_is_found(kernels, monkeypatch):
    relu = OPS["relu"]
    monkeypatch.setitem(relu.paths, "cpu", lambda x, y: y.fill(0))
    with pytest.raises(AssertionError, match="relu by cpu"):
        check_path("relu", "cpu")
    monkeypatch.setitem(relu.paths, "cpu", lambda x, y: False)
    with pytest.raises(AssertionError, match="the cpu path of relu does not cover"):
        check_path("relu", "cpu")


def test_the_names_of_the_tests():
    assert oracle_test("cpu") == "tests/unit/test_op_paths.py::test_cpu_path"
    assert oracle_test("cuda") == "tests/gpu/ops/test_op_paths.py::test_cuda_path"
