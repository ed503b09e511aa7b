"""``mpitrain kernel``: the CUDA kernels listed, built, checked and measured; one module a subcommand."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import UserError

if TYPE_CHECKING:
    from ..main import Job, LocalJob

SUBCOMMANDS = {"list": "names", "build": "build", "check": "check"}
"""The module of each subcommand; its ``parse(argv, speaks)`` returns a job."""

USAGE = f"usage: mpitrain kernel {{{','.join(SUBCOMMANDS)}}} ... (each with --help)"


def parse(argv: list[str], speaks: bool) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for."""
    from ..main import LocalJob

    if not argv or argv[0] in ("-h", "--help"):
        return LocalJob(_help)
    if argv[0] not in SUBCOMMANDS:
        raise UserError(f"there is no kernel command {argv[0]!r}; there are {', '.join(SUBCOMMANDS)}")
    module = importlib.import_module(f".{SUBCOMMANDS[argv[0]]}", __package__)
    parse_subcommand: Callable[[list[str], bool], Job | LocalJob] = module.parse
    return parse_subcommand(argv[1:], speaks)


def _help() -> int:
    print(USAGE)
    for name, module in SUBCOMMANDS.items():
        text = importlib.import_module(f".{module}", __package__).DESCRIPTION
        print(f"  {name:<10}{text}")
    return 0
