"""No kernel of ours needs cuBLAS, which the extras cuda12 and cuda13 do not install; what would need it is refused."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import mpitrain
from mpitrain.cli import main
from mpitrain.context import Context
from mpitrain.device import cublas_error
from mpitrain.errors import UserError
from mpitrain.layers import Layer, Sequential
from mpitrain.ops import OPS
from tests.gpu.arrays import MISSING
from tests.gpu.training.job import Job
from tests.gpu.training.test_graphs import Stepper

PACKAGES = r"pip install nvidia-cublas-cu12 \(for CUDA 12\) or nvidia-cublas \(for CUDA 13\)$"
PRODUCTS = {
    "matmul": np.matmul,
    "@": lambda a, b: a @ b,
    "dot": np.dot,
    "method": lambda a, b: a.dot(b),
    "vdot": np.vdot,
    "inner": np.inner,
    "tensordot": np.tensordot,
    "einsum": lambda a, b: np.einsum("ij,ij->i", a, b),
    "linalg": lambda a, b: np.linalg.solve(a, b),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_stands_for_a_gpu_refuses_products_as_cupy_does(device, name):
    a = device.from_host(np.eye(3, dtype=np.float32))
    with pytest.raises(ImportError, match="libcublas"):
        PRODUCTS[name](a, a)
    if name == "linalg":  # cuSOLVER's
        return
    device.cublas = True
    PRODUCTS[name](a, a)
    device.begin_capture()
    with pytest.raises(NotImplementedError, match="during stream capture"):  # as CuPy's setStream raises it
        PRODUCTS[name](a, a)
    device.end_capture()


def test_an_op_without_a_kernel_for_its_arrays_says_what_to_install(device):
    x = device.zeros((2, 3), np.float64)
    with pytest.raises(
        UserError, match=r"^linear_dx of float64 \(2, 3\) on a GPU, for which there is no kernel, .*" + PACKAGES
    ):
        OPS["linear_dx"](x, device.zeros((4, 3), np.float64), device.zeros((2, 4), np.float64))
    device.cublas = True
    OPS["linear_dx"](x, device.zeros((4, 3), np.float64), device.zeros((2, 4), np.float64))


def test_other_missing_packages_are_not_cublas():
    assert cublas_error(ImportError("libnccl.so.2"), "x") is None


class Product(Layer):
    """A user's own layer: y = x w by NumPy's function."""

    def __init__(self, w):
        self.w = w

    def forward(self, x, ctx):
        ctx[self] = ctx.empty(self, "y", x.shape)
        return np.matmul(x, self.w, out=ctx[self])

    def backward(self, dy, ctx):
        return np.matmul(dy, self.w.T, out=ctx.empty(self, "dx", dy.shape))


def test_a_users_own_product_is_one_sentence(device, capsys):
    layer = Product(device.from_host(np.eye(3, dtype=np.float32)))
    with pytest.raises(ImportError) as raised:
        layer.forward(device.zeros((2, 3)), Context(device=device))
    assert str(raised.value) == MISSING
    assert main._describe(raised.value, 0, "rank 0 of 1") == 2
    said = capsys.readouterr().err
    assert said.startswith("mpitrain: rank 0 of 1: a matrix product by NumPy's functions on a GPU needs cuBLAS, which")
    assert said.count("\n") == 1
    assert main._describe(ImportError("no module of that name"), 0, "rank 0 of 1") == 1


def test_a_users_own_product_cannot_be_captured(device):
    """With cuBLAS it runs, but CuPy refuses it in a graph: there is none then, and a note says why."""
    device.cublas = True
    job = Job("mlp", device, widths=(16,))
    own = Product(device.from_host(np.eye(20, dtype=np.float32)))
    own.needs_dx = False
    job.model = Sequential(own, *job.model)
    stepper = Stepper(job, True)
    losses = [stepper.step() for _ in range(3)]
    assert losses[0] == Stepper(Job("mlp", device, widths=(16,)), False).step()
    assert stepper.graphs.launched == 0
    assert stepper.notes == [
        "no CUDA graph of the step: calling cuBLAS API during stream capture is currently unsupported"
    ]


# Ops that have no kernel, since a GPU never runs them: parts of the NumPy functions of others, and those of the host.
PARTS = {
    "batchnorm": {"batchnorm", "batchnorm_statistics", "batchnorm_sums", "batchnorm_dx"},
    "cross_entropy": {"softmax_cross_entropy", "softmax_cross_entropy_dx"},
    "add_layernorm": {"layernorm", "layernorm_dw", "layernorm_dx", "layernorm_gradients", "layernorm_backward"},
    "add_rmsnorm": {"rmsnorm", "rmsnorm_backward"},
    "facts of rows of tokens: comparisons and sums of integers": {"row_lengths", "packed_sequences"},
    "sums over the memory of one node": {"sum_sources"},
    "waits, and needs no product": {"sum_of_squares"},
    "passes of CuPy's over arrays, without a product": {"soft_cross_entropy", "scale_by_pixels"},
}


def test_every_other_op_has_a_kernel():
    missing = {name for name, op in OPS.items() if "cuda" not in op.paths}
    assert missing == set().union(*PARTS.values()), "write a path in mpitrain/ops/cuda, or say why a GPU needs none"


NAMES = {"matmul", "dot", "vdot", "inner", "tensordot", "einsum", "linalg"}
SUSPECT = re.compile(rf"\.({'|'.join(NAMES)})\b|\s@\s")
HOST = {  # products of arrays of the host
    "collectives/price/curve.py",
    "comm/measure/link_survey.py",
    "data/audio/features.py",
    "data/audio/resample.py",
    "kernels/bench/contenders.py",
    "kernels/check.py",
    "kernels/lab/tasks.py",
    "models/adapt.py",
    "parallel/moves/check.py",
    "parallel/sync/adasum.py",  # --sync refuses GPUs
    "planning/tables.py",
    "scaling/laws.py",
    "training/class_weights.py",
    "training/mesh/plan_here.py",
}


def is_field(node):
    """Return whether it is an attribute of that name: a layer's ``inner``."""
    return node.attr == "inner" and not (isinstance(node.value, ast.Name) and node.value.id in ("np", "cupy"))


def test_products_are_made_by_ops():
    """Outside of ops/, whose NumPy functions a GPU does not run, no function of CuPy's that needs cuBLAS is called."""
    root, found = Path(mpitrain.__file__).parent, set()
    for file in root.rglob("*.py"):
        where, text = file.relative_to(root).as_posix(), file.read_text()
        if where.startswith("ops/") or not SUSPECT.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            named = isinstance(node, ast.Attribute) and node.attr in NAMES and not is_field(node)
            if named or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)):
                found.add(where)
    assert found == HOST
