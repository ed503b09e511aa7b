"""Commands of commands, such as ``mpitrain collective show``: one module of a package for each."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from .main import Job, LocalJob


def parse_subcommand(
    command: str, package: str, modules: dict[str, str], argv: list[str], speaks: bool
) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for: ``modules`` of ``package`` have a ``parse(argv, speaks)`` each."""
    from .main import LocalJob

    if not argv or argv[0] in ("-h", "--help"):
        return LocalJob(lambda: _help(command, package, modules))
    if argv[0] not in modules:
        raise UserError(f"there is no {command} command {argv[0]!r}; there are {', '.join(modules)}")
    parse: Callable[[list[str], bool], Job | LocalJob] = importlib.import_module(f"{package}.{modules[argv[0]]}").parse
    return parse(argv[1:], speaks)


def _help(command: str, package: str, modules: dict[str, str]) -> int:
    print(f"usage: mpitrain {command} {{{','.join(modules)}}} ... (each with --help)")
    for name, module in modules.items():
        print(f"  {name:<10}{importlib.import_module(f'{package}.{module}').DESCRIPTION}")
    return 0
