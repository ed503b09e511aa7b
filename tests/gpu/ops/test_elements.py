"""Arrays of bf16 on a device, and the kernels that are built for them."""

import sys

import numpy as np
import pytest

from mpitrain.device import CPU, bfloat16, is_bf16
from mpitrain.errors import UserError
from mpitrain.ops.cuda.elements import bf16_of, element_kernel, elements_fit, macros_of


def test_arrays_of_a_device(anywhere):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 7)).astype(np.float32)
    on = anywhere.from_host(x.astype(bfloat16()))
    assert is_bf16(on)
    assert not is_bf16(anywhere.from_host(x))
    assert on.nbytes == 2 * x.size
    rounded = (x.view(np.uint32) + 0x7FFF + (x.view(np.uint32) >> 16 & 1) >> 16 << 16).view(np.float32)
    for found, expected in ((on, rounded), (on[1:3], rounded[1:3]), (on.reshape(7, 5).T, rounded.reshape(7, 5).T)):
        host = anywhere.to_host(found)
        assert host.dtype == np.float32
        np.testing.assert_array_equal(host, expected)
    memory = anywhere.empty((2, 3), bfloat16())
    memory.fill(1.5)
    np.testing.assert_array_equal(anywhere.to_host(memory.view(np.uint16)), 0x3FC0)
    np.testing.assert_array_equal(anywhere.to_host(bf16_of(anywhere.from_host(x), "w")), rounded)
    np.testing.assert_array_equal(anywhere.to_host(anywhere.zeros((3,), bfloat16())), 0)


def test_types_and_macros(device):
    fp32, bf16, double = (device.zeros((2, 4), dtype) for dtype in (np.float32, bfloat16(), np.float64))
    assert macros_of(fp32) == {}
    assert macros_of(bf16, "OUTPUT_BF16") == {"OUTPUT_BF16": 1}
    assert elements_fit(fp32, fp32)
    assert elements_fit(bf16, bf16)
    assert not elements_fit(fp32, bf16)
    assert not elements_fit(double)
    assert not elements_fit(bf16, bf16.T)
    assert bf16_of(bf16, "w") is bf16
    both = element_kernel("softmax.cu", {"ROW_WARPS": 8}, name="softmax_dx")
    assert both.of(fp32).macros == (("ROW_WARPS", 8),)
    assert both.of(bf16).macros == (("ELEMENT_BF16", 1), ("ROW_WARPS", 8))


def test_activations_have_the_precision_of_their_device(device):
    assert device.activation_dtype == CPU.activation_dtype == np.float32
    device.precision = "bf16"
    assert device.activation_dtype == bfloat16()


def test_what_bf16_needs_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(UserError, match="--precision bf16 needs ml_dtypes: pip install ml_dtypes"):
        bfloat16.__wrapped__()
    monkeypatch.setattr(np, "__version__", "2.0.1")
    with pytest.raises(UserError, match=r"NumPy 2\.1\.2 or newer, not 2\.0\.1"):
        bfloat16.__wrapped__()
