"""``mpitrain kernel lab``: run a student's CUDA file without a GPU, and explain its faults and its use of memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob

if TYPE_CHECKING:
    from ...kernels.lab.report import Report

DESCRIPTION = (
    "Run a CUDA file on the CPU, with shuffled threads, and explain it: races, accesses out of bounds, bank conflicts, "
    "uncoalesced access, and the speed that its counts allow. It needs g++, and no GPU."
)


@dataclass(frozen=True, kw_only=True)
class LabOptions:
    """Options of lab."""

    file: Annotated[Positional[Path | None], arg(metavar="FILE.cu")] = None
    """A CUDA file with one kernel whose name tells its task: add, sum, transpose or product."""
    list: bool = False
    """List the exercises."""
    new: int | None = None
    """Write the starter of this exercise, to FILE.cu or to a file with its name."""
    kernel: str = ""
    """The kernel to run, if the file has more than one."""
    task: str = ""
    """The task, if the kernel's name does not tell it; FILE.py:NAME for one of your own."""
    gpu: bool = False
    """Run the file on this machine's GPU, and compare its results with float64; nothing is diagnosed there."""
    svg: Path | None = None
    """File for a picture of what was found."""
    json: bool = False
    """Print what was found as JSON."""
    seeds: int = 3
    """Random inputs and orders of the threads for each size."""
    seconds: int = 20
    """Time limit of all launches together, in seconds of a processor."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(LabOptions, argv, command="kernel lab", description=DESCRIPTION, speaks=speaks)
    if options.seeds < 1 or options.seconds < 1:
        raise UserError("--seeds and --seconds must be at least 1")
    if options.list:
        return LocalJob(show_exercises)
    if options.new is not None:
        number = options.new
        return LocalJob(lambda: write_starter(number, options.file))
    if options.file is None:
        raise UserError("name a CUDA file: mpitrain kernel lab FILE.cu; --list shows the exercises, --new N begins one")
    file = options.file
    return LocalJob(lambda: run_on_gpu(file, options) if options.gpu else run_lab(file, options))


def show_exercises() -> int:
    """Print a row for each exercise."""
    from ...training.display.text_table import Column, print_table
    from ..terminal import make_console
    from .exercises import exercises

    console = make_console()
    rows = [(str(number), path.stem.partition("_")[2], purpose) for number, (path, purpose) in exercises().items()]
    print_table(console, [Column(""), Column("exercise", "word"), Column("task", "text")], rows)
    console.print()
    console.say("mpitrain kernel lab --new 1 writes the first one; all of them, with a page that explains them:")
    console.say("mpitrain course start DIR --lab kernels")
    return 0


def write_starter(number: int, file: Path | None) -> int:
    """Write the starter of an exercise to a file that does not exist yet."""
    from .exercises import exercises

    known = exercises()
    if number not in known:
        raise UserError(f"--new {number}: there are the exercises {', '.join(map(str, known))}")
    starter, _ = known[number]
    target = file or Path(starter.name)
    try:
        with open(target, "x", encoding="utf-8") as new:
            new.write(starter.read_text(encoding="utf-8"))
    except FileExistsError:
        raise UserError(f"{target} exists already; name another file: --new {number} FILE.cu") from None
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from None
    print(f"{target}: now run\n    mpitrain kernel lab {target}")
    return 0


def run_lab(file: Path, options: LabOptions) -> int:
    """Run the file and print the report; the exit code is 0 if all is right and the exercise's goals are reached."""
    from ...kernels.lab.report import report_of
    from ...kernels.lab.run import run_all
    from ...kernels.lab.source import Source
    from ...kernels.lab.tasks import find_task

    source = Source(file)
    task, entry = find_task(source, options.kernel, options.task)
    found = run_all(source, task, entry, seeds=options.seeds, seconds=options.seconds)
    report = report_of(source, task, entry, found)
    if options.svg:
        _write_picture(report, options.svg)
    if options.json:
        from ...json_text import to_json
        from ...kernels.lab.table import as_table

        print(to_json(as_table(report), indent=1))
    else:
        from .lab_text import show

        show(report)
        if options.svg:
            print(f"\nthe picture is in {options.svg}")
    return 0 if report.passed else 1


def run_on_gpu(file: Path, options: LabOptions) -> int:
    """Run the file on the GPU, and print whether its results are right."""
    from ...device import open_gpu
    from ...kernels.lab.on_gpu import compare_all
    from ...kernels.lab.source import Source
    from ...kernels.lab.tasks import find_task

    source = Source(file)
    task, entry = find_task(source, options.kernel, options.task)
    device = open_gpu(f"{file} cannot run on a GPU")
    print(f"{device.name}: {entry}")
    wrong = 0
    for sizes, error in compare_all(device, source, task, entry, options.seeds):
        wrong += bool(error)
        print(f"  {', '.join(f'{name} = {size}' for name, size in sizes.items())}: {error or 'right'}")
    return 1 if wrong else 0


def _write_picture(report: "Report", path: Path) -> None:
    from ...kernels.lab.drawing import draw_svg

    try:
        path.write_text(draw_svg(report), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
