"""``mpitrain kernel``: list, build, check and measure kernels, and a lab to learn them; one module per subcommand."""

from typing import TYPE_CHECKING

from ..subcommands import parse_subcommand

if TYPE_CHECKING:
    from ..order import Job, LocalJob

SUBCOMMANDS = {
    "list": "names",
    "build": "build",
    "check": "check",
    "bench": "bench",
    "ladder": "ladder",
    "messages": "messages",
    "lab": "lab",
}
"""The module of each subcommand; its ``parse(argv, speaks)`` returns a job."""


def parse(argv: list[str], speaks: bool) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for."""
    return parse_subcommand("kernel", __package__, SUBCOMMANDS, argv, speaks)
