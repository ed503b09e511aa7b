"""``mpitrain runs``: the runs of a database that ``train --monitor sqlite`` has written; one module per subcommand."""

from typing import TYPE_CHECKING

from ..subcommands import parse_subcommand

if TYPE_CHECKING:
    from ..order import Job, LocalJob

SUBCOMMANDS = {
    "list": "names",
    "show": "show",
    "compare": "compare",
    "export": "export",
    "delete": "delete",
}
"""The module of each subcommand; its ``parse(argv, speaks)`` returns a job."""


def parse(argv: list[str], speaks: bool) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for."""
    return parse_subcommand("runs", __package__, SUBCOMMANDS, argv, speaks)
