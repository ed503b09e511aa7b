"""``mpitrain kernel list``: what kernels there are, and which are built."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..options import parse_options
from ..order import LocalJob

if TYPE_CHECKING:
    from ...training.console import PlainConsole

DESCRIPTION = "List the kernels: what each computes on a GPU and for which it is built, and what runs on the CPU."


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of list."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    parse_options(ListOptions, argv, command="kernel list", description=DESCRIPTION, speaks=speaks)
    return LocalJob(show_list)


def show_list() -> int:
    """Print both lists."""
    from ..terminal import make_console

    console = make_console()
    show_cuda(console)
    show_cpu(console)
    return 0


def show_cpu(console: "PlainConsole") -> None:
    """Print which path ops take on the CPU, and why."""
    from ... import cpu_kernels
    from ...ops import OPS
    from ...training.text_table import Column, print_table

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
    from ...training.text_table import Column, print_table

    built = sorted(folder().glob("*.cubin"))
    files = dict.fromkeys(k.file for k in [*products(), *others(), *ladder()])
    variants = [k.file for k in products()]
    rows = []
    for file in files:
        name = file.removesuffix(".cu").split("/")[-1]
        archs = sorted({p.name.removeprefix(f"{name}-").split("-")[0] for p in built if p.name.startswith(f"{name}-")})
        count = f" ({variants.count(file)})" if variants.count(file) > 1 else ""
        rows.append((file + count, ", ".join(archs) or "-", purpose(file)))
    print_table(console, [Column("CUDA source", "word"), Column("built for", "word"), Column("purpose", "text")], rows)
    console.print()
    console.say(f"sources and headers: kernels/; built files: {folder()}")
