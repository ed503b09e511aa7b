"""The lab finds no fault in kernels that are right; solutions pass, and starters are refused as the notes say."""

import re

import pytest

from mpitrain.kernels.lab.sentences import percent
from tests.kernels import cpu, tools
from tests.kernels.lab.examples import FOLDER, RUNGS, SOLUTIONS, SOLVED, STARTERS, examine, run
from tests.kernels.machine_code import build

pytestmark = [cpu.needs_gxx, pytest.mark.timeout(600)]  # the first one builds the shim


@pytest.mark.parametrize("path", RUNGS, ids=lambda path: path.stem)
def test_no_fault_in_a_rung(path):
    report = examine(path)
    assert report.passed, [fault.title for fault in report.faults]
    rows = dict(re.findall(r"^\| (\d) \| (\S+ \| \S+) \| [\d.]+ \|$", (cpu.ROOT / "docs/kernels.md").read_text(), re.M))
    bound = report.counts.bounds()[0]
    assert rows[path.stem[len("gemm_0")]] == f"{percent(bound.by_units)} | {percent(bound.by_merged)}"


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_passes(path):
    report = examine(path, seeds=2)
    assert report.goals
    assert report.passed, ([fault.title for fault in report.faults], report.missed)


@pytest.mark.parametrize("path", STARTERS, ids=lambda path: path.stem)
def test_a_starter_is_refused_as_the_note_says(path, capfd):
    number = path.stem[len("exercise")]
    (message,) = re.findall(rf"^\| {number} \| `(.*?)` \|", (FOLDER / "instructor.md").read_text(), re.M)
    code, out, _ = run(capfd, path)
    assert code == 1
    assert message in out
    assert f"mpitrain kernel lab {path.name}" in (FOLDER / "README.md").read_text()


def test_the_bounds_in_the_notes():
    starter, solution = STARTERS[3], [SOLVED["tiled_product"], SOLVED["register_product"]]
    rows = re.findall(r"^\| \d, (?:starter|solution) \| (.*) \|$", (FOLDER / "instructor.md").read_text(), re.M)
    for path, row in zip([starter, *solution], rows, strict=True):
        counts = examine(path).counts
        bound = counts.bounds()[0]
        loads = [f"{counts.rates[f'{space} loads']:.3g}" for space in ("global", "shared")]
        assert row.split(" | ") == [*loads, percent(bound.by_units), percent(bound.by_memory)]


def test_every_starter_has_a_solution():
    assert [path.name for path in STARTERS] == [path.name for path in SOLUTIONS]
    assert len(STARTERS) == 5


@pytest.mark.parametrize("path", [*SOLUTIONS, *STARTERS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_compiles_for_a_gpu(path):
    built = build(str(path), "80", {}, "NVRTC" if tools.NVCC is None else "nvcc")
    assert built.registers <= 64
