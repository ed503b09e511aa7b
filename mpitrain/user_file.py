"""Python files of a user, loaded by path: any fault is reported in one sentence with its line."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .errors import UserError
from .plain_text import visible
from .user_code import TooLongError, UserCode, describe, line_in

SECONDS = 60.0  # time limit of loading: a file may import large packages

_MODULES: dict[tuple[Path, int, int], ModuleType] = {}


def load_file(path: Path) -> ModuleType:
    """Return the module of a user's file, loaded once as long as the file does not change.

    Raises
    ------
    UserError
        If there is no such file, if it cannot be loaded, or if that takes too long.
    """
    if not path.is_file():
        raise UserError(f"there is no file {visible(str(path))}")
    facts = path.stat()
    key = path.resolve(), facts.st_mtime_ns, facts.st_size
    if key not in _MODULES:
        _MODULES[key] = _load(path, f"_user_{path.stem}_{len(_MODULES)}")
    return _MODULES[key]


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    shown = visible(str(path))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    try:
        with UserCode(str(spec.origin), SECONDS):
            spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:
        where = shown if error.filename in (None, spec.origin) else f"{shown} cannot be loaded: {error.filename}"
        raise UserError(f"{where}, line {error.lineno}: {error.msg}") from None
    except TooLongError as error:
        line = f", line {error.line}" if error.line else ""
        raise UserError(f"{shown}{line}: it has been loading for {SECONDS:.0f} s; does the loop there end?") from None
    except (Exception, SystemExit) as error:  # sys.exit in a user's file must not end the job silently
        where = line_in(str(spec.origin), error.__traceback__)
        raise UserError(f"{shown} cannot be loaded: {describe(error)}{where}") from error
    return module
