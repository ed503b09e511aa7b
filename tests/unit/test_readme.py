"""README.md shows what the program prints: scripts/make_readme.py writes it."""

import doctest
import importlib.util
from pathlib import Path

import pytest

from mpitrain.training.display.progress_log import epoch_line
from mpitrain.training.results import EpochResult
from mpitrain.training.step_timer import Times

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("make_readme", ROOT / "scripts" / "make_readme.py")
make_readme = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_readme)
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = "\n".join([
    "8 ranks, 1 BLAS thread each (MPICH 5.0.2)", "digits", "epoch 1/3  a", "epoch 2/3  b", "epoch 3/3  " + "word " * 30,
    "test  loss 1", "time  compute", "rank 0  1%", "rank 1  2%", "rank 2  3%", "rank 3  3%", "weights in x",
])  # fmt: skip


def test_epoch_lines_are_those_that_are_printed_now():
    result = EpochResult(1, 23, 0.05, {"loss": 2.0, "accuracy": 0.4}, {"loss": 1.5, "accuracy": 0.5}, 10000.0, 0.1,
                         Times(0.3, 0.3, 0.2, 0.2))  # fmt: skip
    shapes = {make_readme.shape(line) for line in make_readme.find(TEXT).splitlines() if line.startswith("epoch ")}
    assert shapes == {make_readme.shape(epoch_line(result, 10))}


def test_a_run_is_shortened():
    lines = make_readme.shorten(RUN)
    assert lines[2:5] == ["epoch 1/3  a", "...", f"epoch 3/3  {'word ' * 20}..."]
    assert lines[-4:] == ["rank 0  1%", "rank 1  2%", "...", "weights in x"]
    assert make_readme.find(make_readme.replace(TEXT, lines)).splitlines() == lines
    assert make_readme.replace(TEXT, make_readme.find(TEXT).splitlines()) == TEXT


def test_a_readme_without_the_block_is_left_alone():
    with pytest.raises(SystemExit, match="has 0 indented blocks"):
        make_readme.replace("nothing here", ["x"])


def test_examples_in_docstrings():
    assert doctest.testmod(make_readme).failed == 0
