"""``mpitrain kernel list``: the kernels, the architectures for which they are built, and the paths of every op."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..options import parse_options
from ..order import LocalJob

if TYPE_CHECKING:
    from ...training.display.console import PlainConsole

DESCRIPTION = (
    "List the kernels: what each computes on a GPU and for which it is built, and what runs on the CPU. "
    "With --ops: every op with its paths and the tests that compare them."
)
PATHS = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of list."""

    ops: bool = False
    """A table of all ops: which have a path in C and in CUDA besides NumPy's, and which test compares it."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ListOptions, argv, command="kernel list", description=DESCRIPTION, speaks=speaks)
    return LocalJob(show_ops if options.ops else show_list)


def show_list() -> int:
    """Print the CUDA kernels and the paths on the CPU."""
    from ..terminal import make_console

    console = make_console()
    show_cuda(console)
    show_cpu(console)
    return 0


def show_ops() -> int:
    """Print a row for each op: its file, its paths, and the tests that compare them with the NumPy function."""
    from ...ops import OPS
    from ...training.display.text_table import Column, print_table
    from ..terminal import make_console

    console = make_console()
    rows = [
        (op.name, f"ops/{op.module}.py", "oracle", *(_cell(op.name, p, p in op.paths) for p in PATHS))
        for op in sorted(OPS.values(), key=lambda op: (op.module, op.name))
    ]
    print_table(console, [Column(head, "word") for head in ("op", "file", "numpy", *PATHS)], rows)
    console.print()
    for path in PATHS:
        console.say(f"{path}: {oracle_test(path)} compares each op with its NumPy function in float64")
    return 0


def oracle_test(path: str) -> str:
    """Return the test that compares all ops of a path with their NumPy functions (``tests/op_cases``)."""
    return f"tests/{'unit' if path == 'cpu' else 'gpu/ops'}/test_op_paths.py::test_{path}_path"


def _cell(name: str, path: str, there: bool) -> str:
    return f"{oracle_test(path).rpartition('::')[2]}[{name}]" if there else "-"


def show_cpu(console: "PlainConsole") -> None:
    """Print the path of the ops on the CPU, and the reason for it."""
    from ... import cpu_kernels
    from ...ops import OPS
    from ...training.display.text_table import Column, print_table

    console.print()
    console.say(f"on the CPU: {'NumPy' if cpu_kernels.C is None else 'kernels in C'} ({cpu_kernels.why})")
    if cpu_kernels.C is None:
        return
    levels = ", ".join(cpu_kernels.C.levels())
    console.say(f"levels that run here: {levels}; {cpu_kernels.VARIABLE}=numpy, or a level, chooses")
    rows = []
    for where, chosen in (("in C", True), ("in NumPy", False)):
        names = sorted(name for name, op in OPS.items() if ("cpu" in op.paths) == chosen)
        rows.append((where, ", ".join(names)))
    print_table(console, [Column("", "word"), Column("", "text")], rows, head=False)


def show_cuda(console: "PlainConsole") -> None:
    """Print a row for each CUDA source."""
    from ...kernels.build import folder
    from ...kernels.catalogue import ladder, others, products, purpose
    from ...kernels.kernel import path_of
    from ...training.display.text_table import Column, print_table

    built = sorted(folder().glob("*.cubin"))
    files = dict.fromkeys(k.file for k in [*products(), *others(), *ladder()])
    variants = [k.file for k in products()]
    rows = []
    for file in files:
        name = file.removesuffix(".cu")
        archs = sorted({p.name.removeprefix(f"{name}-").split("-")[0] for p in built if p.name.startswith(f"{name}-")})
        count = f" ({variants.count(file)})" if variants.count(file) > 1 else ""
        rows.append((f"{path_of(file)}{count}", ", ".join(archs) or "-", purpose(file)))
    print_table(console, [Column("CUDA source", "word"), Column("built for", "word"), Column("purpose", "text")], rows)
    console.print()
    console.say(f"sources and headers: kernels/; built files: {folder()}")
