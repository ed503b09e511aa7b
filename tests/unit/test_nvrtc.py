"""Choice of the compiler: one whose kernels the driver loads, though another package has brought a newer one."""

import sys

import pytest

from mpitrain.errors import CubinError, UserError
from mpitrain.kernels import build, launch, nvrtc
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
    monkeypatch.setenv("MPITRAIN_KERNELS", str(tmp_path / "kernels"))
    for module in (nvrtc, build):
        monkeypatch.setattr(module, "_refused", set())
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
        "the driver, which knows CUDA 12.2, does not load kernels/products/gemm_sum.cu for sm_90a. NVRTC 12.0 "
        "built it: CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid; pip install 'mpitrain[cuda12]', or set "
        "MPITRAIN_NVRTC to another libnvrtc.so"
    )


class Loads(Picky):
    """A device whose driver loads files that were built by certain versions."""

    def load(self, kernel, cubin, shared_bytes):
        path = cubin()
        if build.version_of(path) not in self.loads:
            raise CubinError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
        return path.read_text()


@pytest.fixture
def compiled(wheels, monkeypatch):
    """The names of the kernels that were compiled, by whatever version; a cubin says how it was made."""
    found = []

    def compile_kernel(kernel, arch):
        found.append((kernel.name, nvrtc.version()))
        return f"here by {nvrtc.version()}".encode(), ""

    monkeypatch.setattr(build, "compile_kernel", compile_kernel)
    return found


def built_ahead(version):
    path = build.folder() / f"{build._stem(kernel('gemm_sum.cu'), 'sm_90a')}-cuda{version}.cubin"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"ahead by {version}")


def launched(device):
    launch.launch(device, kernel("gemm_sum.cu"), PLAN, ())
    return device.launched[-1]


@pytest.mark.parametrize(
    ("ahead", "driver", "loaded"),
    [
        (["12.9"], None, "ahead by 12.9"),
        (["12.9", "12.10"], (12, 9), "ahead by 12.10"),
        (["12.9", "14.0"], (13, 0), "ahead by 12.9"),  # of those that the driver knows
        (["12.9", "13.0"], (13, 0), "ahead by 13.0"),
        (["14.0"], (13, 0), "here by 13.0"),
        ([], (13, 0), "here by 13.0"),
    ],
)
def test_what_another_compiler_has_built_ahead_is_taken(compiled, monkeypatch, ahead, driver, loaded):
    monkeypatch.setattr(nvrtc, "driver_version", lambda: driver)
    for version in ahead:
        built_ahead(version)
    assert launched(Loads([*ahead, "13.0"])) == loaded
    assert len(compiled) == loaded.startswith("here")


def test_a_refused_file_is_not_taken_again(compiled):
    built_ahead("14.0")
    built_ahead("12.9")
    assert launched(Loads(["12.9"])) == "ahead by 12.9"
    assert compiled == []
    build._refused.clear()
    assert launched(Loads(["12.0"])) == "here by 12.0"
    assert compiled == [("gemm_sum", "13.0"), ("gemm_sum", "12.0")]


def test_without_a_compiler_what_was_built_ahead_is_launched(compiled, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    built_ahead("12.9")
    assert launched(Loads(["12.9"])) == "ahead by 12.9"
    with pytest.raises(UserError, match="NVRTC, the CUDA compiler, is not installed"):
        launched(Loads([]))


def test_a_compiler_that_the_user_names_builds_itself(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("MPITRAIN_NVRTC", str(tmp_path / "nvidia" / WHEELS[12]))
    built_ahead("12.9")
    assert launched(Loads(["12.0"])) == "here by 12.0"


def test_kernel_build_compiles_beside_what_is_there(compiled):
    built_ahead("12.9")
    build.build_all([kernel("gemm_sum.cu")], "sm_90a")
    assert compiled == [("gemm_sum", "13.0")]
