"""Schedules from a user's file: any fault is reported in one sentence with its line."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UserError
from ..user_code import TooLongError, UserCode, code_of
from ..user_file import load_file
from ..user_generator import given, why_no_items
from .step import Step
from .user_schedule import SECONDS


def load(path: Path, name: str) -> Callable[..., Any]:
    """Return the schedule ``name`` of the file ``path``.

    Raises
    ------
    UserError
        If there is no such file or function, if the file does not load, or if the function yields no steps.
    """
    module = load_file(path)
    function: Callable[..., Any] | None = getattr(module, name, None)
    if function is None:
        there = [key for key, value in vars(module).items() if _is_schedule(value, module)]
        known = f"; it has {', '.join(there)}" if there else ""
        raise UserError(f"{path} has no function {name!r}{known}")
    if not callable(function):
        raise UserError(f"{name} in {path} must be a function that yields Step objects, not {given(function)}")
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if len(positional) < 2 and not any(p.kind == p.VAR_POSITIONAL for p in positional):
        code = code_of(function)
        raise UserError(f"{name} in {path}{f', line {code.co_firstlineno},' if code else ''} must take (rank, size)")
    if not inspect.isgeneratorfunction(function):
        _check_result(function, path)
    return function


def _line(number: int | None) -> str:
    return f", line {number}" if number else ""


def _is_schedule(value: Any, module: ModuleType) -> bool:
    return inspect.isgeneratorfunction(value) and value.__module__ == module.__name__


def _check_result(function: Callable[..., Any], path: Path) -> None:
    """Raise UserError unless the function, which has no yield of its own, returns an iterator of steps."""
    code = code_of(function)
    try:
        with UserCode(code.co_filename if code else "", SECONDS):
            result = function(0, 2)
    except TooLongError as error:
        where = f"{function.__name__} in {path}{_line(error.line)}"
        raise UserError(f"{where}: it never yields, and does not come back; does the loop there end?") from None
    except (Exception, SystemExit):
        return  # raised again when its steps are taken, with the rank
    why = why_no_items(result, Step, function.__name__, code)
    if why:
        raise UserError(f"{path}: {why}")
