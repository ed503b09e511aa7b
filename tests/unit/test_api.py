"""The public names: cheap to import, complete, and documented."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import mpitrain

SOURCE = ast.parse(Path(mpitrain.__file__).read_text())


def python(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_loads_nothing():
    heavy = ("mpi4py", "numpy", "rich", "tyro")
    assert python(f"import sys, mpitrain; print([m for m in sys.modules if m.split('.')[0] in {heavy}])") == "[]"


def test_importing_is_quick():
    code = "import time; begin = time.perf_counter(); import mpitrain; print(time.perf_counter() - begin)"
    assert min(float(python(code)) for _ in range(3)) < 0.15


def test_a_hook_and_a_model_need_no_mpi():
    code = """
import sys, mpitrain as mt
class Mine(mt.Hook):
    def step_end(self, info: mt.StepInfo): pass
net = mt.Sequential(mt.Flatten(), mt.Linear(4, 3))
print([m for m in sys.modules if m.startswith("mpi4py")])
"""
    assert python(code) == "[]"


@pytest.mark.parametrize("name", mpitrain.__all__)
def test_every_name_is_there_and_documented(name):
    found = getattr(mpitrain, name)
    assert name in dir(mpitrain)
    if name != "__version__":
        assert inspect.getdoc(found), name


def test_type_checkers_see_the_same_names():
    """The imports under TYPE_CHECKING and those at run time are from the same places."""
    block = next(node for node in SOURCE.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    modules = {name for name, module in seen.items() if module is None}
    assert set(seen) | {"__version__"} == set(mpitrain.__all__)
    assert modules == set(mpitrain._MODULES)
    places = {name: module for module, names in mpitrain._PLACES.items() for name in names.split()}
    assert {name: module for name, module in seen.items() if module} == places


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'mpitrain' has no attribute 'Trainr'"):
        mpitrain.Trainr  # noqa: B018


@pytest.mark.parametrize(
    "module", ["cli.train", "cli.scale.run", "training.weights", "training.directory.run_directory"]
)
def test_the_command_line_loads_no_mpi(module):
    assert python(f"import sys, mpitrain.{module}; print('mpi4py.MPI' in sys.modules)") == "False"


@pytest.mark.parametrize("module", ["channel", "late_comm", "mesh", "schedule.message"])
def test_mpi_is_initialized_by_start_only(module):
    """Settings for MPI are made by ``start``, whichever module is imported first."""
    text = f"import os, mpitrain.comm.{module}; from mpi4py import MPI; "
    assert python(text + "print(not MPI.Is_initialized() or os.environ.get('OMPI_MCA_osc'))") in ("True", "^ucx")
