"""Stacks of other ranks' processes: a signal makes a process write all of its stacks to a file.

The handler is faulthandler's and runs in C: it works inside an MPI call, a kernel or an endless loop, and while the
interpreter lock is held. Only a stopped process does not answer.
"""

import faulthandler
import os
import re
import signal
import time

from .ledger import Ledger, short_path
from .slot import Fact, Record, process_state

SIGNAL = getattr(signal, "SIGRTMIN", signal.SIGUSR2) + 9
ANSWER_SECONDS, QUIET_SECONDS = 1.0, 0.05
FRAMES = 4
OWN = ("comm/watch/watchdog.py", "comm/watch/remote_query.py")  # threads that only watch other threads
IDLE = ("threading.py", "queue.py")  # innermost frames of threads that wait for another thread
FRAME = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)')
STATES = {"T": "stopped by a signal (SIGSTOP)", "t": "stopped by a debugger", "D": "waiting for a disk", "Z": "dead"}


def answer_with_stacks(ledger: Ledger) -> None:
    """Make this process write its stacks to the ledger's file when it receives the signal."""
    if ledger.stacks >= 0:
        faulthandler.register(SIGNAL, file=ledger.stacks, all_threads=True, chain=False)


def describe_activity(ledger: Ledger, record: Record) -> str:
    """Return the activity of the process of ``record`` in one line."""
    if not record.reachable():
        return "is gone" if not record.process_lives() else "cannot be inspected from here"
    state = process_state(int(record.fact(Fact.PID)))
    if state in STATES:
        return f"is {STATES[state]}"
    text = _ask(ledger, int(record.fact(Fact.PID)))
    if not text:
        return "does not answer"
    threads = parse_stacks(text)
    main = threads.pop(int(record.fact(Fact.MAIN_THREAD)), [])
    if not _idle(main):
        return f"is {_say_frames(main)}"
    busy = [frames for frames in threads.values() if not _idle(frames) and not any(own in str(frames) for own in OWN)]
    return "waits for a thread of its own that is " + " and one ".join(map(_say_frames, busy or [main]))


def _ask(ledger: Ledger, pid: int) -> str:
    """Return the stacks of a process, \"\" if it does not answer in time."""
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
        elif (found := FRAME.search(line)) and "threading.py" not in (found["file"] if frames else ""):
            frames.append((short_path(found["file"]), found["line"], found["name"]))
    return threads


def _idle(frames: list[tuple[str, str, str]]) -> bool:
    return not frames or frames[0][0].endswith(IDLE)


def _say_frames(frames: list[tuple[str, str, str]]) -> str:
    if not frames:
        return "in no Python code"
    return "at " + ", from ".join(f"{file}:{line} in {name}" for file, line, name in frames[:FRAMES])
