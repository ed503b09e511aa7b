"""The examples and the commands of README.md run from an installed wheel, outside of the checkout."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ENVIRONMENT

ROOT = Path(__file__).parents[2]
SOURCES = ("mpitrain", "kernels", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
README_COMMAND = re.compile(r"mpirun -n \d+ python -m mpitrain(?: train)?|mpitrain -n \d+|mpitrain --help")
EXAMPLE_COMMAND = re.compile(r"^mpirun -n \d+ python [^#\n]+", re.M)
PROGRAMS = sorted(path.name for path in (ROOT / "examples").glob("own_*.py"))  # monitors: see test_monitors.py
IMPORTED = "import mpitrain, mpitrain._cpu_kernels as c; print(mpitrain.__file__, c.__file__)"

pytestmark = [
    pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="the sources of the package are in the checkout only"),
    pytest.mark.timeout(300),  # the first test builds the wheel: kernels in C
]


def run(command, directory, environment, timeout=90):
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Build the wheel and install it into a directory; return that and the environment to use it."""
    base = tmp_path_factory.mktemp("wheel")
    copy = base / "sources"
    copy.mkdir()
    for name in SOURCES:  # a copy: a build would take files that an earlier one has left in the checkout
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy2(ROOT / name, copy / name)
    pip, site = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"], base / "site"
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", base, copy], base, ENVIRONMENT, 240)
    (wheel,) = base.glob("mpitrain-*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], base, ENVIRONMENT)
    path = os.pathsep.join([str(site / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return site, ENVIRONMENT | {"PYTHONPATH": str(site), "PATH": path}


def commands_of(pattern, *texts):
    """Return the commands in texts, each once, in their order."""
    return list(dict.fromkeys(command.strip() for text in texts for command in pattern.findall(text)))


def test_the_commands_are_found():
    found = commands_of(README_COMMAND, (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"mpirun -n 8 python -m mpitrain", "mpitrain -n 8", "mpitrain --help"} <= set(found)
    for path in (ROOT / "examples").glob("*.py"):
        program = path.name if path.name in PROGRAMS else f"-m mpitrain --monitor {path.name}:"
        commands = commands_of(EXAMPLE_COMMAND, path.read_text(encoding="utf-8"))
        assert any(command.startswith(f"mpirun -n 4 python {program}") for command in commands), path


def test_the_installed_package_is_used(installed, tmp_path):
    site, environment = installed
    for launch in ([], ["mpirun", "-n", "2"]):
        out = run([*launch, sys.executable, "-c", IMPORTED], tmp_path, environment)
        for path in out.split():
            assert Path(path).is_relative_to(site), out


def test_commands_of_the_readme(installed, tmp_path):
    _, environment = installed
    for command in commands_of(README_COMMAND, (ROOT / "README.md").read_text(encoding="utf-8")):
        short = [] if "--help" in command else ["--epochs", "1"]
        out = run([*shlex.split(command), *short], tmp_path, environment)
        assert ("best test" if short else "train") in out, command


@pytest.mark.parametrize("lab", ["collectives", "pipelines", "kernels"])
def test_a_lab(installed, tmp_path, lab):
    _, environment = installed
    run(["mpitrain", "course", "start", "lab", "--lab", lab], tmp_path, environment)
    course = ROOT / "docs" / "course" / ("" if lab == "collectives" else lab)
    wanted = {
        path.name
        for pattern in ("README.md", "exercise*.py", "exercise*.cu", "lab.ipynb")
        for path in course.glob(pattern)
    }
    assert {path.name for path in (tmp_path / "lab").iterdir()} == wanted


@pytest.mark.skipif(shutil.which("g++") is None, reason="the lab on kernels needs g++")
def test_the_lab_on_kernels(installed, tmp_path):
    _, environment = installed
    environment = environment | {"MPITRAIN_KERNELS": str(tmp_path / "built")}
    run(["mpitrain", "kernel", "lab", "--new", "3", "mine.cu"], tmp_path, environment)
    done = subprocess.run(
        ["mpitrain", "kernel", "lab", "mine.cu"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 1, done.stderr
    assert "uncoalesced access in line 11" in done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example(installed, tmp_path, name):
    _, environment = installed
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(text, encoding="utf-8")
    for command in commands_of(EXAMPLE_COMMAND, text):
        out = run(shlex.split(command.replace("-n 4", "-n 2")), tmp_path, environment)
        assert re.search(r"accuracy|loss|stopped after", out), out
