"""All kernels of training are built ahead by ``mpitrain kernel build``: a run after it compiles nothing."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.kernels.build import options
from mpitrain.kernels.catalogue import PRODUCTS, others, products
from mpitrain.kernels.gemm import Shape
from mpitrain.kernels.planner import plan
from mpitrain.layers import Embedding, LayerNorm, MaxPool2d, Sequential
from mpitrain.optim import LARS, AdamW
from tests.gpu.device import ShimDevice
from tests.gpu.training.job import Job

AHEAD = {(k.file, k.macros) for k in (*products(), *others())}


class Recorder(ShimDevice):
    """Notes what is loaded, and how it would be built."""

    def __init__(self, *args):
        super().__init__(*args)
        self.loaded = set()

    def load(self, kernel, cubin, shared_bytes):
        assert options(kernel, self.arch)
        self.loaded.add((kernel.file, kernel.macros))
        return super().load(kernel, cubin, shared_bytes)


@pytest.mark.parametrize(
    ("precision", "name", "options"),
    [
        ("fp32", "lenet", {}),
        ("fp32", "resnet8", {"optimizer": LARS}),
        ("tf32", "mlp", {"dropout": 0.3, "activation": "gelu", "optimizer": AdamW}),
        ("bf16", "mlp", {"widths": (40, 30), "dropout": 0.3, "activation": "gelu", "optimizer": AdamW}),
        ("bf16", "resnet8", {}),
        ("bf16", "transformer", {}),
        ("tf32", "transformer", {}),
        ("fp32", "transformer", {}),
    ],
)
def test_training(precision, name, options):
    device = Recorder("sm_80")
    device.precision = precision
    Job(name, device, **options).step()
    assert device.loaded
    assert device.loaded <= AHEAD, device.loaded - AHEAD


def test_other_layers():
    device = Recorder()
    for layer, x in (
        (Sequential(Embedding(5, 4), LayerNorm(4)), np.array([3, 1])),
        (MaxPool2d(17), np.ones((1, 17, 17, 2))),
    ):
        Arena(layer.named_parameters(), device=device)
        ctx = Context(device=device)
        y = layer.forward(device.from_host(x if x.ndim == 1 else x.astype(np.float32)), ctx)
        layer.backward(device.from_host(np.ones(y.shape, np.float32)), ctx)
    assert device.loaded <= AHEAD, device.loaded - AHEAD


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90a"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_plans(arch, precision):
    """Plans for the products of training at any size, with K split and not."""
    if precision != "fp32" and arch == "sm_75":
        return
    for m, n, k in ((64, 10, 128), (4096, 4096, 4096), (128, 784, 60000), (8192, 768, 3072)):
        for transpose_a, transpose_b, epilogue in PRODUCTS:
            outputs = "bf16" if precision == "bf16" and not transpose_a else "fp32"
            made = plan(Shape(m, n, k, 1, transpose_a, transpose_b, precision, outputs, epilogue), arch, 132)
            found = {(each.file, each.macros) for each in (made.kernel, made.sum_kernel) if each is not None}
            assert found <= AHEAD, found - AHEAD
