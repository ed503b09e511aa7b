"""The life of a process: its command, what it prints when it ends, and its exit code."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..comm.launch import first_exit_ends_all, launched_rank
from ..errors import AgreedError, UserError
from .commands import parse_command

if TYPE_CHECKING:
    from ..comm.world import World

INTERRUPTED = 130
BROKEN_PIPE = 141
TIMEOUT = 120.0  # seconds that a rank may wait for others, where no option says otherwise
PATIENCE = 3.0  # seconds that ranks leave to another one to say what is wrong before they do or exit too

Job = Callable[["World"], int]
"""What a command does on one rank; its result is the exit code."""


@dataclass(frozen=True)
class LocalJob:
    """What a command does in one process, without MPI (under a launcher: on rank 0)."""

    run: Callable[[], int]


def main(argv: list[str] | None = None) -> int:
    """Run the command named first in ``argv`` (train if none is) and return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    rank = launched_rank()
    try:
        job = parse_command(argv, rank)
        if isinstance(job, LocalJob):
            return _quietly(job.run) if rank == 0 else 0
    except ModuleNotFoundError as error:
        return _leave(_say(_not_installed(error), rank), rank)
    except UserError as error:
        return _leave(_say(error, rank), rank)
    except SystemExit as end:  # --help, or a mistake that the parser has shown
        return _leave(end.code if isinstance(end.code, int) else 0, rank)
    except KeyboardInterrupt:
        return INTERRUPTED
    return run(job)


def _not_installed(error: ModuleNotFoundError) -> UserError:
    """Return what to tell who has the sources but not the packages; a module of our own that is missing is a bug."""
    package = (error.name or "mpitrain").partition(".")[0]
    if package == "mpitrain":
        raise error
    where = f"the package {package} is not installed for {sys.executable}"
    return UserError(f"{where}; in mpitrain's folder: pip install -e '.[mpich]'")


def _quietly(run: Callable[[], int]) -> int:
    """Run to the end, or to where the reader of our output (| head) has seen enough."""
    try:
        code = run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


def _leave(code: int, rank: int) -> int:
    """Return ``code``, on ranks above 0 not before rank 0 has spoken where the launcher ends all with the first."""
    if code and rank and first_exit_ends_all():
        time.sleep(PATIENCE)
    return code


def run(job: Job) -> int:
    """Run ``job`` on this rank; whatever it raises ends all ranks with one message."""
    try:
        from ..comm.world import World

        world = World()
    except UserError as error:
        return _leave(_say(error, launched_rank()), launched_rank())
    except KeyboardInterrupt:
        return INTERRUPTED
    world.watch(TIMEOUT)
    try:
        code = job(world)
        world.leave(code)
        return code
    except AgreedError as error:
        code = _say(error, world.rank)
        world.leave(code)
        return code
    except BaseException as error:
        if not world.ledger.fails_first():
            time.sleep(PATIENCE)  # the first says why, and ends this rank
        difference = world.disagreement()  # the cause of most of what MPI raises
        code = _describe(AgreedError(difference, code=1) if difference else error, world.rank, world.size)
        if world.size > 1:
            world.abort(code)
        return code


def _say(error: UserError, rank: int) -> int:
    if rank == 0:
        print(f"mpitrain: {error}", file=sys.stderr, flush=True)
    return error.code if isinstance(error, AgreedError) else 2


def _describe(error: BaseException, rank: int, size: int) -> int:
    """Print what ended this rank; return the exit code."""
    who = f"rank {rank} of {size}"
    if isinstance(error, KeyboardInterrupt):
        text, code = "mpitrain: interrupted", INTERRUPTED
    elif isinstance(error, MemoryError):
        text, code = f"mpitrain: {who} is out of memory ({error}): take a smaller model or --batch-size", 1
    elif isinstance(error, UserError):
        text, code = f"mpitrain: {who}: {error}", error.code if isinstance(error, AgreedError) else 2
    else:
        lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
        text, code = "\n".join([f"mpitrain: {who} failed:", *(f"[{rank}] {line}" for line in lines)]), 1
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    return code
