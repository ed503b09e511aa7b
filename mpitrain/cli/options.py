"""Options from the command line: tyro makes them from dataclasses, their docstrings are the help."""

import contextlib
import io
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse_options(
    kind: type[T], argv: list[str], *, command: str, description: str, default: T | None = None, speaks: bool = True
) -> T:
    """Return ``argv`` as a ``kind``; help and mistakes are printed where ``speaks``, and end the process (0 or 2)."""
    options: dict[str, Any] = {} if default is None else {"default": default}
    silence = io.StringIO()
    with contextlib.ExitStack() as stack:
        if not speaks:  # tyro's own switch, console_outputs, lets some messages through
            stack.enter_context(contextlib.redirect_stdout(silence))
            stack.enter_context(contextlib.redirect_stderr(silence))
        return tyro.cli(
            kind,
            args=argv,
            prog=f"mpitrain {command}",
            description=description,
            config=(tyro.conf.OmitArgPrefixes,),
            **options,
        )
