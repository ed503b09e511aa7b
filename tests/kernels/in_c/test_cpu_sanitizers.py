"""The tests of the kernels in C once more, built with the address and undefined-behavior sanitizers."""

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mpitrain

ROOT = Path(__file__).parents[3]
FLAGS = ["-O1", "-g", "-fPIC", "-pthread", "-Wno-psabi", "-DEXACT_SCRATCH"]
FLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
GCC = shutil.which("gcc")
INCLUDE = Path(sysconfig.get_paths()["include"])

pytestmark = pytest.mark.skipif(
    GCC is None or not (INCLUDE / "Python.h").exists() or not sys.platform.startswith("linux"),
    reason="needs gcc and Python.h on Linux",
)


def library(name):
    """Return the path of one of gcc's own libraries, or its bare name where gcc does not have it."""
    return subprocess.run([GCC, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()


def build(folder):
    """Make a package in ``folder`` that is ours but for the extension, which has the sanitizers."""
    package = folder / "mpitrain"
    package.mkdir()
    for entry in Path(mpitrain.__file__).parent.iterdir():
        if entry.suffix != ".so" and entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)

    def compile_one(source):
        target = folder / f"{source.stem}.o"
        command = [GCC, *FLAGS, f"-I{INCLUDE}", "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True, timeout=300)
        return str(target)

    names = ("level_avx512.c", "level_avx2.c", "level_baseline.c", "module.c", "threads.c")
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [ROOT / "kernels" / "cpu" / name for name in names]))
    command = [GCC, *FLAGS, "-shared", *objects, "-o", str(package / "_cpu_kernels.abi3.so")]
    subprocess.run(command, check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kernels_under_sanitizers(tmp_path):
    asan, ubsan = library("libasan.so"), library("libubsan.so")
    if not Path(asan).is_absolute() or not Path(ubsan).is_absolute():  # a package of their own on some systems
        pytest.skip("gcc has no sanitizers here")
    build(tmp_path)
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "LD_PRELOAD": f"{asan}:{ubsan}",
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it has until it ends
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    tests = [str(path) for path in sorted((ROOT / "tests" / "unit").glob("test_cpu_*.py"))]
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-p", "no:cacheprovider", "-k", "not environment", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.timeout(300)
def test_the_pool_under_the_thread_sanitizer(tmp_path):
    if not Path(library("libtsan.so")).is_absolute():  # a package of its own on some systems
        pytest.skip("gcc has no thread sanitizer here")
    driver = tmp_path / "pool"
    sources = [str(Path(__file__).with_name("threads_driver.c")), str(ROOT / "kernels" / "cpu" / "threads.c")]
    command = [GCC, "-O1", "-g", "-pthread", "-fsanitize=thread", *sources, "-o", str(driver)]
    subprocess.run(command, check=True, timeout=60)
    done = subprocess.run([driver, "5000"], capture_output=True, text=True, timeout=200)
    if "unexpected memory mapping" in done.stderr:  # more bits of random addresses than gcc before 14 knows of
        pytest.skip("the thread sanitizer does not run on this kernel")
    assert done.returncode == 0, done.stdout + done.stderr[-8000:]
