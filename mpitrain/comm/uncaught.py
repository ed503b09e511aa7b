"""Ends of a job by an exception that a script does not catch: no rank is left waiting for the one that raised it."""

import sys
import time
import traceback
from types import TracebackType
from typing import Any

from ..errors import AgreedError, UserError

PATIENCE = 3.0  # seconds that a rank leaves to another one that has failed before, and says why

_installed = False


def end_all_on_error(world: Any) -> None:
    """Let an uncaught exception on one rank end all ranks, with one message; ``AgreedError`` ends each by itself.

    Nothing changes for a single rank or an interactive interpreter.

    Parameters
    ----------
    world : World
        All ranks of the job.
    """
    global _installed
    if _installed or world.size == 1 or hasattr(sys, "ps1"):
        return
    _installed = True
    show = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, AgreedError):
            if world.rank == 0:
                print(f"mpitrain: {error}", file=sys.stderr, flush=True)
            sys.exit(error.code)
        if not world.ledger.fails_first():
            time.sleep(PATIENCE)
        difference = world.disagreement()
        who = f"mpitrain: {world.own_name} of {world.size}"
        if difference:
            print(f"{who}: {difference}", file=sys.stderr, flush=True)
        elif isinstance(error, UserError):
            print(f"{who}: {error}", file=sys.stderr, flush=True)
        else:
            lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
            print("\n".join([f"{who} failed:", *(f"[{world.rank}] {line}" for line in lines)]), file=sys.stderr)
        if isinstance(error, KeyboardInterrupt):
            show(kind, error, trace)
        world.abort(2 if isinstance(error, UserError) else 1)

    sys.excepthook = end
