"""``mpitrain profile``: read the trace that ``train --profile`` has written; one module per subcommand."""

from typing import TYPE_CHECKING

from ..subcommands import parse_subcommand

if TYPE_CHECKING:
    from ..order import Job, LocalJob

SUBCOMMANDS = {"show": "show"}
"""The module of each subcommand; its ``parse(argv, speaks)`` returns a job."""


def parse(argv: list[str], speaks: bool) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for."""
    return parse_subcommand("profile", __package__, SUBCOMMANDS, argv, speaks)
