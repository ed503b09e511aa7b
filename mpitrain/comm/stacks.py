"""Where a rank's program is, asked from outside: by a signal that writes all stacks of the process to a file.

The handler is faulthandler's and runs in C: it answers from inside an MPI call, a kernel, or an endless loop, and with
the interpreter's lock held. Only a stopped process does not answer.
"""

import faulthandler
import os
import re
import signal
import time

from .ledger import Ledger, short_path
from .record import Fact, Record, process_state

SIGNAL = getattr(signal, "SIGRTMIN", signal.SIGUSR2) + 9
ANSWER_SECONDS, QUIET_SECONDS = 1.0, 0.05
FRAMES = 5
OWN_FILES = ("comm/watchdog.py", "comm/stacks.py")
FRAME = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)')
STATES = {"T": "stopped by a signal (SIGSTOP)", "t": "stopped by a debugger", "D": "waiting for a disk", "Z": "dead"}


def answer_with_stacks(ledger: Ledger) -> None:
    """Let this process write its stacks to the ledger's file whenever it is sent the signal."""
    if ledger.stacks >= 0:
        faulthandler.register(SIGNAL, file=ledger.stacks, all_threads=True, chain=False)


def what_it_does(ledger: Ledger, record: Record) -> str:
    """Return what the process of ``record`` is doing, in one line."""
    if not record.reachable():
        return "its process is gone" if not record.process_lives() else "its process cannot be seen from here"
    state = process_state(int(record.fact(Fact.PID)))
    if state in STATES:
        return STATES[state]
    text = _ask(ledger, int(record.fact(Fact.PID)))
    if not text:
        return "it does not answer"
    threads = parse_stacks(text)
    main = threads.pop(int(record.fact(Fact.MAIN_THREAD)), [])
    parts = [_say_frames(main)]
    # a rank whose input thread is stuck sits in a queue: what the thread does says more
    parts += [f"another thread {_say_frames(frames)}" for frames in threads.values() if _says_something(frames)]
    return "; ".join(parts)


def _ask(ledger: Ledger, pid: int) -> str:
    """Return the stacks of a process, empty if it does not answer in time."""
    if ledger.stacks < 0:
        return ""
    begin = os.fstat(ledger.stacks).st_size
    os.kill(pid, SIGNAL)
    length, until, quiet_since = begin, time.monotonic() + ANSWER_SECONDS, time.monotonic()
    while (now := time.monotonic()) < until:
        time.sleep(QUIET_SECONDS / 5)
        grown = os.fstat(ledger.stacks).st_size
        if grown != length:
            length, quiet_since = grown, now
        elif length > begin and now - quiet_since > QUIET_SECONDS:
            break
    return os.pread(ledger.stacks, length - begin, begin).decode(errors="replace")


def parse_stacks(text: str) -> dict[int, list[tuple[str, str, str]]]:
    """Return the frames (file, line, function) of each thread, the innermost first."""
    threads: dict[int, list[tuple[str, str, str]]] = {}
    frames: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        if "hread 0x" in line:
            frames = threads.setdefault(int(line.partition("0x")[2].split()[0], 16), [])
        elif found := FRAME.search(line):
            frames.append((short_path(found["file"]), found["line"], found["name"]))
    return threads


def _says_something(frames: list[tuple[str, str, str]]) -> bool:
    return bool(frames) and not any(file.endswith(OWN_FILES) for file, _, _ in frames) and len(frames) > 3


def _say_frames(frames: list[tuple[str, str, str]]) -> str:
    if not frames:
        return "is in no Python code"
    shown = [f"{name} ({file}:{line})" for file, line, name in frames[:FRAMES]]
    return "is in " + ", called by ".join(shown)
