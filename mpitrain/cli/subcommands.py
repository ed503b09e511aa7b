"""Subcommands, such as ``mpitrain collective show``: one module per subcommand."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import UserError
from ..suggest import did_you_mean
from .commands import HELP

if TYPE_CHECKING:
    from .order import Job, LocalJob


def parse_subcommand(
    command: str, package: str, modules: dict[str, str], argv: list[str], speaks: bool
) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for: ``modules`` of ``package`` have a ``parse(argv, speaks)`` each."""
    from .order import LocalJob

    if not argv or argv[0] in HELP:
        return LocalJob(lambda: _help(command, package, modules))
    if argv[0] not in modules:
        near = did_you_mean(argv[0], modules)
        raise UserError(f"there is no {command} command {argv[0]!r}{near}; there are {', '.join(modules)}")
    parse: Callable[[list[str], bool], Job | LocalJob] = importlib.import_module(f"{package}.{modules[argv[0]]}").parse
    return parse(argv[1:], speaks)


def _help(command: str, package: str, modules: dict[str, str]) -> int:
    from ..training.display.text_table import Column, print_table
    from .terminal import make_console

    console = make_console()
    console.say(f"usage: mpitrain {command} COMMAND [OPTIONS]")
    console.print()
    rows = [
        (f"  {name}", importlib.import_module(f"{package}.{module}").DESCRIPTION) for name, module in modules.items()
    ]
    print_table(console, [Column("", "word", "bold"), Column("", "text")], rows, head=False)
    console.print()
    console.say(f"mpitrain {command} COMMAND --help explains a command.")
    return 0
