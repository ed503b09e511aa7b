"""Kernels are compiled without a GPU, once for each source, set of headers, flags, architecture and compiler."""

import multiprocessing
import os
import re
import shutil
from pathlib import Path

import pytest

from mpitrain.cli.main import main
from mpitrain.errors import UserError
from mpitrain.kernels import SOURCES, Kernel, nvrtc
from mpitrain.kernels.build import build, cached
from mpitrain.kernels.catalogue import ladder, others, products, purpose
from mpitrain.kernels.kernel import INCLUDE, kernel, path_of, text_of, text_with_headers

NAIVE = Kernel("gemm_01_naive.cu", "gemm_01_naive")


def has_compiler():
    try:
        return bool(nvrtc.version())
    except UserError:
        return False


needs_nvrtc = pytest.mark.skipif(not has_compiler(), reason="there is no NVRTC here (pip install 'mpitrain[test]')")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_KERNELS", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A folder of kernels of one's own."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "part.cuh").write_text("#pragma once\n#define FACTOR 2\n")
    (folder / "twice.cu").write_text(
        '#include "part.cuh"\nextern "C" __global__ void twice(float* x) {\n  x[threadIdx.x] *= FACTOR;\n}\n'
    )
    for module in ("kernel", "build"):
        monkeypatch.setattr(f"mpitrain.kernels.{module}.SOURCES", folder)
    return folder


def test_headers_of_headers_count():
    names = text_with_headers("gemm_mma.cu")
    assert {"products/gemm_mma.cu", "products/epilogue.cuh", "products/gemm.cuh", "common/ptx/shared.cuh"} <= set(names)


@pytest.mark.parametrize("kind", ["cu", "cuh"])
def test_names_are_unique(kind):
    """A kernel is found by its name alone, and a header is spoken of by it."""
    names = [path.name for path in SOURCES.rglob(f"*.{kind}")]
    assert len(names) == len(set(names)) > 40


def test_a_file_is_found_by_its_name():
    assert path_of("gemm_mma.cu") == Path("products/gemm_mma.cu")
    assert path_of("/elsewhere/mine.cu") == Path("/elsewhere/mine.cu")
    with pytest.raises(FileNotFoundError, match=r"no folder of \S+ has a file none.cu"):
        path_of("none.cu")


def test_includes_give_the_path_from_the_top():
    paths = [path for kind in ("cu", "cuh") for path in SOURCES.rglob(f"*.{kind}")]
    included = {name for path in paths for name in INCLUDE.findall(path.read_text())}
    assert [name for name in sorted(included) if not (SOURCES / name).is_file()] == []


def test_machine_instructions_are_wrapped():
    """Inline PTX has a C++ body beside it, in a file of its own subject."""
    wrappers = {SOURCES / "common" / "numbers.cuh", *(SOURCES / "common" / "ptx").iterdir()}
    paths = {path for kind in ("cu", "cuh") for path in SOURCES.rglob(f"*.{kind}")}
    found = {path for path in paths if re.search(r"\basm\b", path.read_text())}
    assert found - wrappers == set()
    assert [path.name for path in found if "CUDA_ON_CPU" not in path.read_text()] == []


def test_catalogue_names_what_is_there():
    for each in [*products(), *others(), *ladder()]:
        assert f"{each.name}(" in text_of(each.file)
        assert len(purpose(each.file)) > 20
    assert len(set(products())) == len(products())


def test_fits():
    assert Kernel("a.cu", "a", least_arch=80).fits("sm_90a")
    assert not Kernel("a.cu", "a", least_arch=80).fits("sm_75")
    assert Kernel("a.cu", "a", (), 90, exact_arch=True).fits("sm_90a")
    assert not Kernel("a.cu", "a", (), 90, exact_arch=True).fits("sm_90")
    assert not Kernel("a.cu", "a", (), 90, exact_arch=True).fits("sm_100a")


@needs_nvrtc
def test_build_is_machine_code_and_is_kept(cache):
    path = build(NAIVE, "sm_80")
    assert path.parent == cache
    assert path.read_bytes()[:4] == b"\x7fELF"
    before = path.stat().st_mtime_ns
    assert build(NAIVE, "sm_80") == path
    assert path.stat().st_mtime_ns == before
    assert [p.name for p in cache.iterdir()] == [path.name]  # neither a lock nor a half-written file


@needs_nvrtc
def test_the_key_holds_everything(sources):
    twice = kernel("twice.cu")
    keys = {cached(twice, "sm_80"), cached(twice, "sm_75"), cached(kernel("twice.cu", {"N": 1}), "sm_80")}
    (sources / "part.cuh").write_text("#pragma once\n#define FACTOR 3\n")
    keys.add(cached(twice, "sm_80"))
    (sources / "twice.cu").write_text((sources / "twice.cu").read_text() + "\n")
    keys.add(cached(twice, "sm_80"))
    assert len(keys) == 5


@needs_nvrtc
def test_errors_show_our_file_and_line(sources):
    (sources / "twice.cu").write_text(
        '#include "part.cuh"\nextern "C" __global__ void twice(float* x) {\n  y = 1;\n}\n'
    )
    with pytest.raises(nvrtc.CompileError, match=r'kernels/twice.cu\(3\): error: identifier "y" is undefined'):
        build(kernel("twice.cu"), "sm_80")
    (sources / "part.cuh").write_text("#pragma once\nint x = ;\n")
    with pytest.raises(nvrtc.CompileError, match=r"part.cuh\(2\): error"):
        build(kernel("twice.cu"), "sm_80")


@needs_nvrtc
def test_headers_of_the_working_directory_are_not_taken(sources, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere" / "kernels"
    other.mkdir(parents=True)
    (other / "part.cuh").write_text("#error of another checkout\n")
    monkeypatch.chdir(other.parent)
    assert build(kernel("twice.cu"), "sm_80").exists()


def _build_and_say_when(path):
    os.environ["MPITRAIN_KERNELS"] = path
    compiled = []
    real = nvrtc.compile_text
    nvrtc.compile_text = lambda *args: compiled.append(1) or real(*args)
    build(NAIVE, "sm_75")
    return len(compiled)


@needs_nvrtc
def test_one_of_many_ranks_compiles(cache):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        compiled = pool.map_async(_build_and_say_when, [str(cache)] * 4, chunksize=1).get(timeout=60)
    assert sum(compiled) == 1


@needs_nvrtc
def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MPITRAIN_KERNELS", str(tmp_path / "file" / "kernels"))
    with pytest.raises(UserError, match=r"cannot be kept in .*: Not a directory; set MPITRAIN_KERNELS"):
        build(NAIVE, "sm_80")


def test_a_missing_compiler_is_said(monkeypatch):
    monkeypatch.setenv("MPITRAIN_NVRTC", "/nowhere/libnvrtc.so")
    nvrtc.forget()
    try:
        with pytest.raises(UserError, match=r"MPITRAIN_NVRTC names /nowhere/libnvrtc\.so, which cannot be loaded"):
            nvrtc.version()
    finally:
        nvrtc.forget()


def run(capsys, *argv):
    code = main(["kernel", *argv])
    return code, *capsys.readouterr()


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert "gemm_simt.cu" in out
    assert "Matrix product in fp32" in out


@needs_nvrtc
def test_build_command(capsys, cache, monkeypatch):
    monkeypatch.setattr("mpitrain.kernels.catalogue.products", lambda: [NAIVE])
    monkeypatch.setattr("mpitrain.kernels.catalogue.others", lambda: [])
    assert "sm_80: 1 compiled in" in run(capsys, "build", "--arch", "sm_80", "sm_90a")[1]
    assert "sm_80: 0 compiled in" in run(capsys, "build", "--arch", "sm_80")[1]
    assert "sm_80, sm_90a" in run(capsys, "list")[1]


@needs_nvrtc
def test_build_prints_remarks_on_wgmma(capsys, tmp_path, monkeypatch):
    """Sums that are used before the wait: the compiler puts a wait in, and says so."""
    folder = shutil.copytree(SOURCES, tmp_path / "sources")
    for module in ("kernel", "build"):
        monkeypatch.setattr(f"mpitrain.kernels.{module}.SOURCES", folder)
    product = kernel("gemm_wgmma.cu", {"TILE_N": 128, "STAGES": 4})
    monkeypatch.setattr("mpitrain.kernels.catalogue.products", lambda: [product])
    monkeypatch.setattr("mpitrain.kernels.catalogue.others", lambda: [])
    assert "warning" not in run(capsys, "build", "--arch", "sm_90a")[1]
    header = folder / "products" / "ring.cuh"
    right = header.read_text()
    header.write_text(right.replace("  wgmma_wait(sums);\n", ""))
    assert header.read_text() != right
    code, out, _ = run(capsys, "build", "--arch", "sm_90a")
    assert code == 0
    assert f"warning: wgmma may be slow on sm_90a, {product}: " in out
    assert "(C7517)" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["build", "--arch", "hopper"], "--arch hopper is no architecture; they are called sm_80, sm_90a ..."),
        (["polish"], "there is no kernel command 'polish'; there are list, build, check"),
    ],
)
def test_mistakes(capsys, argv, message):
    code, _, err = run(capsys, *argv)
    assert code == 2
    assert message in err


def test_without_a_gpu_the_commands_that_need_one_say_so(capsys, monkeypatch):
    monkeypatch.setattr("mpitrain.device.discovery.DRIVER", "libcuda-that-is-not-there.so.1")
    assert run(capsys, "check")[::2] == (
        2,
        "mpitrain: the kernels cannot be checked here: there is no NVIDIA driver here "
        "(libcuda-that-is-not-there.so.1)\n",
    )
    code, _, err = run(capsys, "build")
    assert code == 2
    assert "no GPU to build for (there is no NVIDIA driver here" in err
