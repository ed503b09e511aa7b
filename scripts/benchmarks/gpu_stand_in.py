"""The dry run of scripts/bench gpu: ``mpitrain kernel bench`` on small products, on a device that stands for a GPU.

Its speeds mean nothing: kernels are built for the CPU by g++, and cuBLAS is NumPy.
"""

import sys

import pytest

from mpitrain.cli.kernel.bench import DESCRIPTION, BenchOptions, measure
from mpitrain.cli.options import parse_options
from mpitrain.kernels.bench.cases import Linear, Products
from tests.gpu.device import ShimDevice
from tests.gpu.fake_cublas import open_cublas

FLUSH_BYTES = 1 << 12
SMALL = Products({"fp32": (48,)}, (Linear("small", 40, 24, 20),))


def main() -> int:
    argv = [*sys.argv[1:], "--size", "40"]
    options = parse_options(BenchOptions, argv, command="kernel bench", description=DESCRIPTION, speaks=True)
    with pytest.MonkeyPatch.context() as patch:
        return measure(
            options, ShimDevice("sm_75"), open_cublas(patch), FLUSH_BYTES, lambda kernels, arch: None, SMALL, ()
        )


if __name__ == "__main__":
    sys.exit(main())
