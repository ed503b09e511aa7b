"""A function out of a user's own file: whatever is wrong with the file is one sentence, with the line."""

import functools
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UserError
from .foreign import Foreign, TooLongError, code_of, line_in
from .own import SECONDS as STEP_SECONDS
from .own import describe, said, why_no_steps

SECONDS = 60.0  # that a file may take to load: it may import what is large


def load(path: Path, name: str) -> Callable[..., Any]:
    """Return the schedule ``name`` of the file ``path``.

    Raises
    ------
    UserError
        If there is no such file or function, if the file does not load, or if the function yields no steps.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    facts = path.stat()
    module = _module(path, facts.st_mtime_ns, facts.st_size)
    function = getattr(module, name, None)
    if function is None:
        there = [key for key, value in vars(module).items() if _is_schedule(value, module)]
        known = f"; it has {', '.join(there)}" if there else ""
        raise UserError(f"{path} has no function {name!r}{known}")
    if not callable(function):
        raise UserError(f"{name} in {path} must be a function that yields Step objects, not {said(function)}")
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    if len(positional) < 2 and not any(p.kind == p.VAR_POSITIONAL for p in positional):
        code = code_of(function)
        raise UserError(f"{name} in {path}{f', line {code.co_firstlineno},' if code else ''} must take (rank, size)")
    if not inspect.isgeneratorfunction(function):
        _check_result(function, path)
    return function


@functools.lru_cache(maxsize=32)
def _module(path: Path, modified: int, size: int) -> ModuleType:
    """Return the module in a file as it is now; it is run once, however often it is asked for."""
    spec = importlib.util.spec_from_file_location(f"_schedule_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with Foreign(str(spec.origin), SECONDS):
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:
        where = f"{path}" if error.filename in (None, spec.origin) else f"{path} cannot be loaded: {error.filename}"
        raise UserError(f"{where}, line {error.lineno}: {error.msg}") from None
    except TooLongError as error:
        raise UserError(
            f"{path}{_line(error.line)}: it has been loading for {SECONDS:.0f} s; does the loop there end?"
        ) from None
    except (Exception, SystemExit) as error:
        where = line_in(str(spec.origin), error.__traceback__).strip(" ()")
        raise UserError(f"{path} cannot be loaded: {describe(error)}{f' ({where})' if where else ''}") from None
    return module


def _line(number: int | None) -> str:
    return f", line {number}" if number else ""


def _is_schedule(value: Any, module: ModuleType) -> bool:
    return inspect.isgeneratorfunction(value) and value.__module__ == module.__name__


def _check_result(function: Callable[..., Any], path: Path) -> None:
    """Raise UserError if the function, which is no generator function, makes nothing that yields steps either."""
    code = code_of(function)
    try:
        with Foreign(code.co_filename if code else "", STEP_SECONDS):
            result = function(0, 2)
    except TooLongError as error:
        where = f"{function.__name__} in {path}{_line(error.line)}"
        raise UserError(f"{where}: it never yields, and does not come back; does the loop there end?") from None
    except (Exception, SystemExit):
        return  # whoever asks for its steps hears of it, with the rank
    why = why_no_steps(result, function.__name__, code)
    if why:
        raise UserError(f"{path}: {why}")
