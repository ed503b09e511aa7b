"""``mpitrain kernel list``: what kernels there are, and which are built."""

import textwrap
from dataclasses import dataclass

from ..main import LocalJob
from ..options import parse_options

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
    show_cuda()
    show_native()
    return 0


def show_native() -> None:
    """Print which path ops take on the CPU, and why."""
    from ... import native
    from ...ops import OPS

    print(f"\non the CPU: {'NumPy' if native.kernels is None else 'kernels in C'} ({native.why})")
    if native.kernels is None:
        return
    print(f"levels that run here: {', '.join(native.kernels.levels())}; {native.VARIABLE}=numpy, or a level, chooses")
    for where, chosen in (("in C", True), ("in NumPy", False)):
        names = sorted(name for name, op in OPS.items() if ("native" in op.paths) == chosen)
        print(textwrap.fill(f"{where}: {', '.join(names)}", 120, subsequent_indent="  "))


def show_cuda() -> None:
    """Print a row for each CUDA source."""
    from rich.table import Table

    from ...kernels.build import folder
    from ...kernels.catalogue import ladder, others, products, purpose
    from ..terminal import make_console

    built = sorted(folder().glob("*.cubin"))
    files = dict.fromkeys(k.file for k in [*products(), *others(), *ladder()])
    variants = [k.file for k in products()]
    table = Table.grid(padding=(0, 2))
    for file in files:
        name = file.removesuffix(".cu").split("/")[-1]
        archs = sorted({p.name.removeprefix(f"{name}-").split("-")[0] for p in built if p.name.startswith(f"{name}-")})
        count = f" ({variants.count(file)})" if variants.count(file) > 1 else ""
        table.add_row(file + count, ", ".join(archs) or "not built", purpose(file))
    make_console().print(table)
    print(f"\nsources and headers: kernels/; built files: {folder()}")
