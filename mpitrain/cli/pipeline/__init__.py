"""``mpitrain pipeline``: list, show, check, price and draw pipeline schedules; one module per subcommand."""

from typing import TYPE_CHECKING

from ..subcommands import parse_subcommand

if TYPE_CHECKING:
    from ..order import Job, LocalJob

SUBCOMMANDS = {
    "list": "names",
    "show": "show",
    "check": "check",
    "price": "price",
    "draw": "draw",
    "trace": "trace",
}
"""The module of each subcommand; its ``parse(argv, speaks)`` returns a job."""


def parse(argv: list[str], speaks: bool) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for."""
    return parse_subcommand("pipeline", __package__, SUBCOMMANDS, argv, speaks)
