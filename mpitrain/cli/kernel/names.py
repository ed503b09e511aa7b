"""``mpitrain kernel list``: what kernels there are, and which are built."""

from dataclasses import dataclass

from ..main import LocalJob
from ..options import parse_options

DESCRIPTION = "List the CUDA kernels: what each computes, and for which architectures it is built."


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of list."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    parse_options(ListOptions, argv, command="kernel list", description=DESCRIPTION, speaks=speaks)
    return LocalJob(show_list)


def show_list() -> int:
    """Print a line for each file."""
    from ...kernels.build import folder
    from ...kernels.catalogue import ladder, others, products, purpose

    built = sorted(folder().glob("*.cubin"))
    files = dict.fromkeys(k.file for k in [*products(), *others(), *ladder()])
    variants = [k.file for k in products()]
    for file in files:
        name = file.removesuffix(".cu").split("/")[-1]
        archs = sorted({p.name.removeprefix(f"{name}-").split("-")[0] for p in built if p.name.startswith(f"{name}-")})
        count = f"{variants.count(file)} variants" if variants.count(file) > 1 else ""
        print(f"{file:<32}{count:<13}{', '.join(archs) or 'not built':<24}{purpose(file)}")
    print(f"\nsources and headers: kernels/; built files: {folder()}")
    return 0
