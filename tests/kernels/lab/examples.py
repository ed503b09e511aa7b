"""Exercises of the lab on kernels, with mistakes, and what the lab says of them."""

from mpitrain.cli.course.start import LABS
from mpitrain.cli.main import main
from mpitrain.kernels.lab.report import report_of
from mpitrain.kernels.lab.run import run_all
from mpitrain.kernels.lab.source import Source
from mpitrain.kernels.lab.tasks import find_task
from tests.kernels import cpu

FOLDER = LABS["kernels"].folder
STARTERS = sorted(FOLDER.glob("exercise*.cu"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.cu"))
RUNGS = sorted((cpu.KERNELS / "ladder").glob("gemm_0[1-7]*.cu"))
SOLVED = {path.stem.partition("_")[2]: path for path in SOLUTIONS}


def examine(path, seeds=1, seconds=20):
    source = Source(path)
    task, entry = find_task(source)
    return report_of(source, task, entry, run_all(source, task, entry, seeds=seeds, seconds=seconds))


def planted(tmp_path, name, *changes, **options):
    """Examine a solution with changes."""
    text = SOLVED[name].read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (tmp_path / f"{name}.cu").write_text(text)
    return examine(tmp_path / f"{name}.cu", **options)


def the_fault(report, kind):
    (found,) = [fault for fault in report.faults if fault.kind == kind]
    return found


def line_of(report, text):
    (number,) = [i for i, line in enumerate(report.source.lines, 1) if text in line]
    return number


def run(capfd, *argv):
    code = main(["kernel", "lab", *map(str, argv)])
    out, err = capfd.readouterr()
    return code, out, err
