"""Processes of one training: mpirun and its ranks, ended together when time is up or the user interrupts."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from ...comm.watch.slot import process_start, process_state
from ...errors import UserError
from ..launcher import additions, family, find_launcher

WORKER = "mpitrain.cli.scale.worker"
UNBOUND = {  # Open MPI binds a rank to one core by default, which all of its threads would share
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
}
GRACE = 3.0  # seconds for processes to end, by themselves and then by a signal that they cannot catch
MOMENT = 0.02
ENDED = ("", "Z", "X")  # states of processes
OWN_WORDS = "mpitrain: "
TAIL = 3  # lines of a training that failed without a sentence of mpitrain's


class Launcher:
    """Starts trainings by the mpirun of an MPI library.

    Parameters
    ----------
    library : str
        Name of the library that mpi4py loads.
    most_ranks : int
        For the message if there is no mpirun.
    """

    def __init__(self, library: str, most_ranks: int):
        self._kind = family(library)
        self._mpirun = find_launcher(library, most_ranks)

    def run(self, ranks: int, threads: int, arguments: Sequence[str], errors: Path, seconds: float) -> None:
        """Run the worker on ``ranks`` to its end; its error output goes to the file ``errors``.

        Raises
        ------
        UserError
            If it fails, with its own sentence, or takes longer than ``seconds``: then all its processes are ended.
        """
        line = [self._mpirun, "-n", str(ranks), sys.executable, "-m", WORKER, *arguments]
        environment = os.environ | additions(self._kind, ranks, os.environ) | (UNBOUND if threads > 1 else {})
        code = run_together(line, environment, errors, seconds)
        if code is None:
            raise UserError(f"the training on {_ranks(ranks)} took more than {seconds:g} s, and was ended (see --time)")
        if code:
            raise UserError(f"the training on {_ranks(ranks)} failed: {reason_in(errors, code)}")


def run_together(line: Sequence[str], environment: Mapping[str, str], errors: Path, seconds: float) -> int | None:
    """Run a command to its end and return its exit code; None if it took longer than ``seconds`` and was ended.

    It has a session of its own, so that Ctrl-C reaches this process only, which ends all processes below the command.
    """
    with errors.open("wb") as output:
        process = subprocess.Popen(
            line,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_all(process)


def end_all(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all below it: mpirun is asked first, since it ends the ranks on other hosts, too."""
    if process.poll() is not None:
        return
    below = _below(process.pid)
    process.terminate()
    _wait(process, below)
    for known in filter(_is_there, below):
        with contextlib.suppress(OSError):
            os.kill(known[0], signal.SIGKILL)
    process.kill()
    process.wait()
    _wait(process, below)


def _wait(process: "subprocess.Popen[bytes]", below: Sequence[tuple[int, float]]) -> None:
    """Wait until a process and all below it have ended, but not for long."""
    until = time.monotonic() + GRACE
    while time.monotonic() < until and (process.poll() is None or any(map(_is_there, below))):
        time.sleep(MOMENT)


def _below(pid: int) -> list[tuple[int, float]]:
    """Return all processes below one, each with its start, by which it is known; none without /proc."""
    parents: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(path.read_text(errors="replace").rpartition(")")[2].split()[1])].append(int(path.parent.name))
    found, waiting = list[int](), [pid]
    while waiting:
        children = parents[waiting.pop()]
        found += children
        waiting += children
    return [(child, process_start(child)) for child in found]


def _is_there(known: tuple[int, float]) -> bool:
    pid, start = known
    return start > 0 and process_start(pid) == start and process_state(pid) not in ENDED


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the block like Ctrl-C, so that no rank is left behind."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def reason_in(errors: Path, code: int) -> str:
    """Return the sentence of mpitrain in the output of a training that failed, or its last lines."""
    lines = [line.strip() for line in errors.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    own = [line.removeprefix(OWN_WORDS) for line in lines if line.startswith(OWN_WORDS)]
    return own[0] if own else " / ".join(lines[-TAIL:]) or f"its exit code is {code}"


def _ranks(ranks: int) -> str:
    return f"{ranks} rank{'s' * (ranks != 1)}"
