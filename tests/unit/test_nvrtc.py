"""Choice of the compiler: one whose kernels the driver loads, though another package has brought a newer one."""

import sys

import pytest

from mpitrain.errors import CubinError, UserError
from mpitrain.kernels import launch, nvrtc
from mpitrain.kernels.kernel import kernel
from mpitrain.kernels.plan import Launch

WHEELS = {12: "cuda_nvrtc/lib/libnvrtc.so.12", 13: "cu13/lib/libnvrtc.so.13"}


class Library:
    """An NVRTC that only knows its version."""

    def __init__(self, path):
        if "nvidia" not in path:
            raise OSError(f"{path}: no such file")
        self.major = int(path.rsplit(".", 1)[-1])
        self.nvrtcGetErrorString = type("Function", (), {})()

    def nvrtcVersion(self, major, minor):
        major._obj.value, minor._obj.value = self.major, 0
        return 0


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """NVRTC 12 and 13 in wheels, no other NVRTC, no driver and no CuPy, unless a test says otherwise."""
    for path in WHEELS.values():
        (tmp_path / "nvidia" / path).parent.mkdir(parents=True)
        (tmp_path / "nvidia" / path).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delenv("MPITRAIN_NVRTC", raising=False)
    monkeypatch.setattr(nvrtc.ctypes, "CDLL", Library)
    monkeypatch.setattr(nvrtc, "_refused", set())
    monkeypatch.setattr(nvrtc, "driver_version", lambda: None)
    monkeypatch.setattr(nvrtc, "_cupy_major", lambda: 0)
    nvrtc.forget()
    yield
    nvrtc.forget()


@pytest.mark.parametrize(
    ("driver", "cupy_major", "chosen"),
    [
        (None, 0, "13.0"),  # a login node: the newest
        (None, 12, "12.0"),
        ((12, 4), 0, "12.0"),
        ((12, 4), 13, "12.0"),  # CuPy for CUDA 13 does not work there, but our kernels do
        ((13, 0), 12, "12.0"),
        ((13, 0), 13, "13.0"),
        ((13, 0), 0, "13.0"),
    ],
)
def test_the_best_compiler(wheels, monkeypatch, driver, cupy_major, chosen):
    monkeypatch.setattr(nvrtc, "driver_version", lambda: driver)
    monkeypatch.setattr(nvrtc, "_cupy_major", lambda: cupy_major)
    assert nvrtc.version() == chosen


def test_each_compiler_is_tried_once(wheels):
    assert nvrtc.version() == "13.0"
    assert nvrtc.use_next()
    assert nvrtc.version() == "12.0"
    assert not nvrtc.use_next()


class Picky:
    """A device whose driver loads what the compilers of one version have built."""

    arch = "sm_90a"

    def __init__(self, loads):
        self.loads, self.launched = loads, []

    def load(self, kernel, cubin, shared_bytes):
        if nvrtc.version() not in self.loads:
            raise CubinError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
        return kernel.name

    def launch(self, function, grid, block, shared_bytes, arguments):
        self.launched.append(function)


PLAN = Launch((1, 1, 1), (32, 1, 1))


def test_a_refused_kernel_is_built_by_the_next_compiler(wheels):
    device = Picky(["12.0"])
    launch.launch(device, kernel("gemm_sum.cu"), PLAN, ())
    assert device.launched == ["gemm_sum"]
    assert nvrtc.version() == "12.0"


def test_a_driver_that_loads_nothing_is_named_with_both_versions(wheels, monkeypatch):
    monkeypatch.setattr(nvrtc, "driver_version", lambda: (12, 2))
    with pytest.raises(UserError) as raised:
        launch.launch(Picky([]), kernel("gemm_sum.cu"), PLAN, ())
    assert str(raised.value) == (
        "the driver, which knows CUDA 12.2, does not load kernels/gemm_sum.cu for sm_90a. NVRTC 12.0 built it: "
        "CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid; pip install 'mpitrain[cuda12]', or set "
        "MPITRAIN_NVRTC to another libnvrtc.so"
    )
