"""Kernels that are broken on purpose, each run in a process of its own, since it may write anywhere."""

import faulthandler
import multiprocessing
import os
import traceback
from collections.abc import Callable

from tests.kernels import cpu

RIGHT, FOUND, FAILED = range(3)


def survives(is_right: Callable[[], bool], seconds: float = 60) -> bool:
    """Return what ``is_right`` returns in a child process.

    It is false, too, where the shim refuses a launch, an assertion fails, or the process dies or takes longer.
    """
    child = multiprocessing.get_context("fork").Process(target=_end_by, args=(is_right,))
    child.start()
    child.join(seconds)
    code = child.exitcode
    child.kill()
    assert code != FAILED, "an error of the test: see its output"
    return code == RIGHT


def _end_by(is_right: Callable[[], bool]) -> None:
    faulthandler.disable()
    code = FAILED
    try:
        code = RIGHT if is_right() else FOUND
    except (cpu.Launch, AssertionError):
        code = FOUND
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
