"""Command-line options, made from dataclasses by tyro; the docstrings of their fields are the help."""

import argparse
import contextlib
import io
import shutil
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

from ..config import check_finite
from .fields import Option, list_options, make_registry

T = TypeVar("T")

_collecting: list[bool] = []  # not empty while options are collected


class OptionsFound(Exception):
    """Raised in place of parsing, with the dataclass of the options, while options are collected."""

    def __init__(self, kind: type):
        super().__init__(kind.__name__)
        self.kind = kind


class Mistake(SystemExit):
    """Exit of a process after wrong options or --help, with the text not yet shown."""

    def __init__(self, code: Any, shown: str):
        super().__init__(code)
        lines = (line.strip("│╭╮╰╯─| ") for line in shown.splitlines())
        self.text = " ".join(" ".join(line for line in lines if line.strip("-")).split())


def given_before(argv: list[str], *names: str) -> argparse.Namespace:
    """Return the values of some options, on which the defaults of all depend; empty for those that are not given."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        first.add_argument(f"--{name}", default="")
    without_value = bool(argv) and argv[-1] in [f"--{name}" for name in names]  # which the parser of all options tells
    return first.parse_known_args(argv[:-1] if without_value else argv)[0]


def parse_options(
    kind: type[T], argv: list[str], *, command: str, description: str, default: T | None = None, speaks: bool = True
) -> T:
    """Return ``argv`` as a ``kind``; help (exit code 0) and mistakes (2) end the process, printed if ``speaks``."""
    if _collecting:
        raise OptionsFound(kind)
    silence = io.StringIO()
    with contextlib.ExitStack() as stack:
        if not speaks:  # tyro's own switch, console_outputs, lets some messages through
            stack.enter_context(contextlib.redirect_stdout(silence))
            stack.enter_context(contextlib.redirect_stderr(silence))
        try:
            found = tyro.cli(
                kind,
                default=tyro.MISSING_NONPROP if default is None else default,
                args=argv,
                prog=f"mpitrain {command}",
                description=_wrap(description),
                config=(tyro.conf.OmitArgPrefixes,),
                registry=make_registry(),
            )
        except SystemExit as end:
            raise Mistake(end.code, silence.getvalue()) from None
    check_finite(found)
    return found


def _wrap(text: str) -> str:
    """Return ``text`` in lines that fit the terminal. They are indented, since tyro joins others."""
    width = min(80, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def options_of(parse: Callable[[list[str], bool], object]) -> list[Option]:
    """Return the options and arguments of the command that ``parse`` parses."""
    return list(list_options(kind_of(parse)))


def kind_of(parse: Callable[[list[str], bool], object]) -> type:
    """Return the dataclass of the options of the command that ``parse`` parses."""
    _collecting.append(True)
    try:
        parse([], False)
    except OptionsFound as found:
        return found.kind
    finally:
        _collecting.pop()
    raise TypeError(f"{parse.__module__}.parse does not call parse_options")
