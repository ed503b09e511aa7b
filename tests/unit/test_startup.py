"""Imports of a training up to its first step: every rank makes them, and they are most of its start."""

import json
import subprocess
import sys

import pytest

HOOK = """
import json, sys
from mpitrain import Hook

class Modules(Hook):
    def step_begin(self, info):
        with open("modules.json", "w") as file:
            json.dump(sorted(sys.modules), file)
"""
TRAIN = ["-m", "mpitrain", "--steps", "1", "--model", "mlp:widths=4", "--hook", "hook.py:Modules", "--out", "run"]
MOST = {"mpitrain": 540, "": 920}  # modules, of the package and in all: some more than there are
UNWANTED = {
    *("asyncio", "http.client", "typeguard", "unittest"),  # brought along by others
    *("cupy", "matplotlib", "pandas", "pyarrow", "h5py", "sklearn", "tokenizers", "gguf"),  # for some data and runs
    *("mpitrain.kernels", "mpitrain.ops.cuda"),  # without a GPU
    *("mpitrain.data.tables.table", "mpitrain.data.text.source", "mpitrain.data.formats.openml"),  # other sources
    *("mpitrain.collectives.draw", "mpitrain.comm.measure.trace", "mpitrain.training.pretrained.source"),
    *("mpitrain.cli.submit", "mpitrain.cli.completion"),  # other commands
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("startup")
    (folder / "hook.py").write_text(HOOK)
    subprocess.run([sys.executable, *TRAIN], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return json.loads((folder / "modules.json").read_text())


def test_a_training_imports_what_it_uses(modules):
    found = UNWANTED.intersection(modules)
    assert not found


@pytest.mark.parametrize("package", MOST)
def test_the_number_of_modules(modules, package):
    found = [name for name in modules if name.partition(".")[0] == package or not package]
    assert 0.8 * MOST[package] < len(found) <= MOST[package], "what imports more? scripts/bench startup --modules"
