"""The CUDA path of every op that has one computes what the NumPy function says, on the device that stands for a GPU."""

import pytest

from mpitrain.ops import OPS
from tests.op_paths import check_path

CUDA_OPS = sorted(name for name, op in OPS.items() if "cuda" in op.paths)


@pytest.mark.parametrize("name", CUDA_OPS)
def test_cuda_path(device, name):
    check_path(name, "cuda", device)
