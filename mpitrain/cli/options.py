"""Options from the command line: tyro makes them from dataclasses, their docstrings are the help."""

from typing import TypeVar

import tyro

T = TypeVar("T")


def parse_options(
    kind: type[T], argv: list[str], *, command: str, description: str, default: T | None = None, speaks: bool = True
) -> T:
    """Return ``argv`` as a ``kind``; help and mistakes are printed where ``speaks``, and end the process (0 or 2)."""
    options = {} if default is None else {"default": default}
    return tyro.cli(
        kind,
        args=argv,
        prog=f"mpitrain {command}",
        description=description,
        config=(tyro.conf.OmitArgPrefixes,),
        console_outputs=speaks,
        **options,
    )
