"""The kernels in C for arm64 (NEON), compiled on another machine and run by an emulator, through the same tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
FLAGS = ["-O2", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Werror", "-Wno-psabi", "-pthread", "-static"]
# kernels that are given addresses, which mean nothing there, and strides, which are lost on the way
BY_ADDRESS = "not updates and not sums and not no_number and not one_piece"

pytestmark = pytest.mark.skipif(not COMPILER or not EMULATOR, reason="needs aarch64-linux-gnu-gcc and qemu-aarch64")


@pytest.mark.timeout(600)
def test_kernels_on_arm64(tmp_path):
    program = tmp_path / "remote"
    sources = [ROOT / "kernels" / "cpu" / name for name in ("level_baseline.c", "threads.c")]
    sources.append(Path(__file__).with_name("remote.c"))
    subprocess.run([COMPILER, *FLAGS, *map(str, sources), "-o", str(program), "-lm"], check=True, timeout=200)
    environment = os.environ | {"MPITRAIN_REMOTE": f"{EMULATOR} {program}", "PYTHONPATH": str(ROOT)}
    tests = [str(path) for path in sorted((ROOT / "tests" / "unit").glob("test_cpu_*.py"))]
    command = [sys.executable, "-m", "pytest", "-x", "-p", "tests.kernels.in_c.remote", "-p", "no:cacheprovider"]
    command += ["-k", f"{BY_ADDRESS} and not environment and not kernel_list and not these_functions", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    assert "skipped" not in done.stdout
