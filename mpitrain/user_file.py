"""Python files of a user, loaded by path."""

import importlib.util
import os
import sys
import traceback
import types
from pathlib import Path

from .errors import UserError

_MODULES: dict[tuple[Path, int], types.ModuleType] = {}


def load_file(path: Path) -> types.ModuleType:
    """Return the module of a user's file, loaded once as long as the file does not change.

    Raises
    ------
    UserError
        If there is no such file, or it cannot be loaded.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    key = path.resolve(), path.stat().st_mtime_ns
    if key in _MODULES:
        return _MODULES[key]
    name = f"_user_{path.stem}_{len(_MODULES)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = path if error.filename in (None, spec.origin) else f"{path} cannot be loaded: {error.filename}"
        raise UserError(f"{where}, line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # sys.exit in a user's file must not end the job silently
        where = line_of(path, error)
        raise UserError(f"{path} cannot be loaded{where}: {type(error).__name__}: {error}") from error
    _MODULES[key] = module
    return module


def line_of(path: Path, error: BaseException) -> str:
    """Return ", line N" for the innermost line of a user's file in a traceback; "" if the error arose elsewhere."""
    file = os.path.abspath(path)  # as importlib names it, with links left as they are
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if os.path.abspath(frame.filename) == file]
    return f", line {lines[-1]}" if lines else ""
