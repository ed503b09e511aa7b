"""Main function of a process: run its command, print final messages, return the exit code."""

import contextlib
import gc
import sys
import time
import traceback

from ..comm.launch import first_exit_ends_all, launched_rank, launched_size
from ..errors import AgreedError, UserError
from ..plain_text import visible
from .commands import parse_command
from .order import Job, LocalJob, Order, Refusal, check_alike
from .streams import finish, output_failure, prepare

INTERRUPTED = 130
TIMEOUT = 120.0  # seconds that a rank may wait for others, where no option says otherwise
PATIENCE = 3.0  # seconds that ranks leave to another one to say what is wrong before they do or exit too


def main(argv: list[str] | None = None) -> int:
    """Run the command named first in ``argv`` (train if none is) and return the exit code."""
    prepare()
    gc.disable()  # while modules are loaded, which are no garbage: a tenth of the time
    return finish(_main(sys.argv[1:] if argv is None else argv))


def _main(argv: list[str]) -> int:
    rank = launched_rank()
    try:
        order = _read(argv, rank)
        if launched_size() > 1 or isinstance(order, Job):
            return run(order)
        return _alone(order, rank)
    except KeyboardInterrupt:
        return INTERRUPTED


def _read(argv: list[str], rank: int) -> Order:
    """Return the order of ``argv``; errors in it are reported after the ranks have compared their orders."""
    try:
        return parse_command(argv, rank)
    except ModuleNotFoundError as error:
        return Refusal(str(_not_installed(error)))
    except UserError as error:
        return Refusal(str(error))
    except OSError as error:
        if error is output_failure():  # of --help
            return Refusal("", code=1, by_parser=True)
        return Refusal(f"{error.filename or 'a file'}: {error.strerror or error}")
    except SystemExit as end:  # --help, or a mistake that the parser has shown on rank 0
        return Refusal(getattr(end, "text", ""), end.code if isinstance(end.code, int) else 0, by_parser=True)
    except Exception:
        if launched_size() == 1:
            raise
        return Refusal(traceback.format_exc().rstrip(), code=1)  # the others would wait for this rank in MPI_Init


def _alone(order: LocalJob | Refusal, rank: int) -> int:
    """Run a command that needs no MPI."""
    if isinstance(order, Refusal):
        return order.code if order.by_parser else _say(AgreedError(order.text, order.code), rank)
    _collect_garbage()
    try:
        return order.run() if rank == 0 else 0
    except UserError as error:
        return _say(error, rank)
    except (OSError, SystemExit):  # rich ends the process where a pipe is closed
        if output_failure() is None:
            raise
        return 1


def _collect_garbage() -> None:
    """Collect garbage from now on, but not among the modules that are loaded."""
    gc.freeze()
    gc.enable()


def _not_installed(error: ModuleNotFoundError) -> UserError:
    """Return the error for a package that is not installed; a missing module of mpitrain itself is a bug."""
    package = (error.name or "mpitrain").partition(".")[0]
    if package == "mpitrain":
        raise error
    where = f"the package {package} is not installed for {sys.executable}"
    return UserError(f"{where}; in mpitrain's folder: pip install -e '.[mpich]'")


def _leave(code: int, rank: int) -> int:
    """Return ``code``; ranks above 0 first let rank 0 print, if the launcher ends all ranks with the first."""
    if code and rank and first_exit_ends_all():
        time.sleep(PATIENCE)
    return code


def run(order: Order) -> int:
    """Run ``order`` on this rank if all ranks have the same one; any exception ends all ranks with one message."""
    try:
        from ..comm.world import World

        world = World()
    except (UserError, ModuleNotFoundError) as error:
        rank = launched_rank()
        if not isinstance(order, Job):
            return _leave(_alone(order, rank), rank)
        return _leave(_say(error if isinstance(error, UserError) else _not_installed(error), rank), rank)
    except KeyboardInterrupt:
        return INTERRUPTED
    world.watch(TIMEOUT)
    try:
        check_alike(order, world)
        _collect_garbage()
        code = order.run(world) if isinstance(order, Job) else _alone(order, world.rank)
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
        if isinstance(error, OSError | SystemExit) and output_failure() is not None:
            code = finish(1)
        else:
            code = _describe(
                AgreedError(difference, code=1) if difference else error,
                world.rank,
                f"{world.own_name} of {world.size}",
            )
        if world.size > 1:
            world.abort(code)
        return code


def _say(error: UserError, rank: int) -> int:
    if rank == 0 and str(error):
        with contextlib.suppress(OSError, ValueError):
            print(f"mpitrain: {_text(error)}", file=sys.stderr, flush=True)
    return error.code if isinstance(error, AgreedError) else 2


def _text(error: Exception) -> str:
    return visible(str(error), keep="\n")


def _describe(error: BaseException, rank: int, who: str) -> int:
    """Print the error that ended this rank; return the exit code."""
    if isinstance(error, ImportError):  # of the user's own layer, which multiplies arrays of a GPU
        from ..device import cublas_error

        error = cublas_error(error, "a matrix product by NumPy's functions on a GPU") or error
    if isinstance(error, KeyboardInterrupt):
        text, code = "mpitrain: interrupted", INTERRUPTED
    elif isinstance(error, MemoryError):
        text, code = f"mpitrain: {who} is out of memory ({error}): take a smaller model or --batch-size", 1
    elif isinstance(error, UserError):
        text, code = f"mpitrain: {who}: {_text(error)}", error.code if isinstance(error, AgreedError) else 2
    else:
        lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
        text, code = "\n".join([f"mpitrain: {who} failed:", *(f"[{rank}] {line}" for line in lines)]), 1
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
    return code
