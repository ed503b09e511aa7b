"""``mpitrain parallel``: list and check the moves, the communication inside a network; one module per subcommand."""

from typing import TYPE_CHECKING

from ..subcommands import parse_subcommand

if TYPE_CHECKING:
    from ..order import Job, LocalJob

SUBCOMMANDS = {"list": "names", "check": "check"}
"""The module of each subcommand; its ``parse(argv, speaks)`` returns a job, for one process or for all ranks."""


def parse(argv: list[str], speaks: bool) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for."""
    return parse_subcommand("parallel", __package__, SUBCOMMANDS, argv, speaks)
