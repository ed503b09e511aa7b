"""``mpitrain course``: the labs on collectives, pipelines and kernels; one module per subcommand."""

from typing import TYPE_CHECKING

from ..subcommands import parse_subcommand

if TYPE_CHECKING:
    from ..order import Job, LocalJob

SUBCOMMANDS = {"start": "start"}
"""The module of each subcommand; its ``parse(argv, speaks)`` returns a job."""


def parse(argv: list[str], speaks: bool) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for."""
    return parse_subcommand("course", __package__, SUBCOMMANDS, argv, speaks)
