"""Put into build/gpu all that a machine with a GPU but without a network may lack: scripts/test gpu --pack.

    build/gpu/packages  pure Python packages that the tests and mpitrain need besides CuPy, and an MPI library
    build/gpu/kernels   every kernel that training, the tests and the bench launch, built ahead

Copy the checkout with this folder. scripts/test gpu and scripts/bench gpu find it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from mpitrain.kernels import nvrtc
from mpitrain.kernels.bench.cases import ALL
from mpitrain.kernels.build import build_all, cached
from mpitrain.kernels.catalogue import ladder, others, products
from mpitrain.kernels.gemm import TILES
from mpitrain.kernels.kernel import Kernel
from tests.gpu.session.stages import STAGES

ROOT = Path(__file__).parents[3]
PACKED = ROOT / "build" / "gpu"
PACKAGES = ("tyro", "threadpoolctl", "tomli-w", "rich", "pytest", "pytest-mpi", "pytest-timeout", "mpich")
BY_PYTHON = ("ml_dtypes",)  # compiled, with a file of its own for each Python: they go side by side
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SPARED = ("include", "share", "lib/*_abi*", "bin/*_abi")  # of MPICH: nothing is compiled there
COMPILED = ("numpy", "mpi4py", "cupy", "safetensors")  # what CuPy's machine has, for its own Python


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test gpu --pack", description=__doc__.split("\n\n")[0])
    parser.add_argument("--pack", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--arch", nargs="+", default=["sm_90a"], metavar="ARCH", help="GPUs to build for (sm_90a)")
    options = parser.parse_args()
    pack_packages(PACKED / "packages")
    os.environ["MPITRAIN_KERNELS"] = str(PACKED / "kernels")
    for arch in options.arch:
        build(arch)
    size = sum(path.stat().st_size for path in PACKED.rglob("*") if path.is_file())
    print(f"{PACKED}: {size / 2**20:.0f} MiB; copy it with the checkout")
    return 0


def pack_packages(folder: Path) -> None:
    """Unpack the wheels of packages that any Python 3 can use, or that have files for each."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as here:
        wheels, fresh = Path(here, "wheels"), Path(here, "packages")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--only-binary=:all:", "--dest", str(wheels)]
        subprocess.run([*command, *PACKAGES], check=True)
        for version in PYTHONS:
            one = [*command, "--no-deps", "--python-version", version, *BY_PYTHON]
            if subprocess.run(one, capture_output=True).returncode:  # an index may lack one
                print(f"no {', '.join(BY_PYTHON)} for Python {version}")
        for wheel in sorted(wheels.glob("*.whl")):
            if wheel.name.split("-")[0] not in COMPILED:
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(fresh)
        for data in fresh.glob("*.data/data"):
            shutil.copytree(data, fresh, dirs_exist_ok=True)
            shutil.rmtree(data.parent)
        for part in SPARED:
            for path in fresh.glob(part):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for program in (fresh / "bin").iterdir():
            program.chmod(0o755)
        fresh.rename(folder)
    print(f"packages: {', '.join([*PACKAGES, *BY_PYTHON])}")


def build(arch: str) -> None:
    """Build every kernel for ``arch`` that a dry run of the tests launches, and those of training and of the bench."""
    wanted = [*products(), *others(), *ladder(), *launched()]
    wanted += [tile.built_for(s) for s in ALL.shapes() for tile in TILES if tile.takes(s, arch)]
    fitting = {cached(k, arch): k for k in wanted if k.fits(arch)}
    missing = [kernel for path, kernel in fitting.items() if not path.exists()]
    print(f"{arch}: {len(missing)} of {len(fitting)} kernels are compiled by NVRTC {nvrtc.version()} ...", flush=True)
    begin = time.perf_counter()
    remarks = build_all(missing, arch)
    print("\n".join([f"{arch}: {len(missing)} compiled in {time.perf_counter() - begin:.0f} s", *remarks]))


def launched() -> list[Kernel]:
    """Return the kernels that the tests launch, as a dry run on a device that stands for a GPU writes them down."""
    record = PACKED / "launched.jsonl"
    if not record.exists():
        print("a dry run of the tests, which writes down what they launch (some minutes) ...", flush=True)
        fresh = record.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        stages = [stage.name for stage in STAGES if stage.dry]
        command = [sys.executable, "-m", "tests.gpu.session.main", "--stand-in", "--stages", *stages]
        environment = {**os.environ, "MPITRAIN_TEST_LAUNCHED": str(fresh)}
        subprocess.run([*command, "--out", str(PACKED / "dry")], env=environment, stdout=subprocess.DEVNULL, check=True)
        fresh.rename(record)
    lines = {tuple(json.dumps(part) for part in json.loads(line)) for line in record.read_text().splitlines()}
    found = []
    for line in sorted(lines):
        file, name, macros, least, exact = map(json.loads, line)
        found.append(
            Kernel(
                str(ROOT / file) if file.startswith("tests/") else file, name, tuple(map(tuple, macros)), least, exact
            )
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
