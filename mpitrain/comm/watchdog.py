"""A thread on every rank that sees when the ranks of its node wait too long, says who is late, and ends the job.

It reads the ledger a few times in the time that is allowed. On each node the lowest rank whose own thread still runs
is the one that speaks: so it works when rank 0 is the one that hangs. MPI is not asked, except to abort.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sized

from .ledger import Ledger
from .record import Entry, Fact, Record, first_difference
from .stacks import answer_with_stacks, what_it_does

TIMED_OUT = 124  # exit code, as of timeout(1)
FIRST_STEP = 5  # times as long may take what comes before the first step is done: kernels are built, data fetched
MOST_SILENT = 5.0  # seconds without a sign of life after which another rank speaks
GONE_SECONDS = 10.0  # after which a launcher has not ended the ranks that one of them has left behind
AFTER_ABORT = 2.0  # seconds until ranks that MPI_Abort has not ended are killed


class Watchdog(threading.Thread):
    """Watches the waits of this node.

    Parameters
    ----------
    ledger : Ledger
    size : int
        Ranks of the job.
    timeout : float
        Seconds that a rank may wait.
    abort : callable(int)
        Ends all ranks with an exit code.
    go_on : bool
        The others can go on without a rank that is late: it is killed, and they are left alone.
    """

    def __init__(self, ledger: Ledger, size: int, timeout: float, abort: Callable[[int], None], *, go_on: bool = False):
        super().__init__(name="mpitrain-watchdog", daemon=True)
        self._ledger, self._size, self._timeout, self._abort = ledger, size, timeout, abort
        self._go_on = go_on
        self._patience = FIRST_STEP * timeout
        self._interval = min(1.0, timeout / 8)
        self._gone_since = 0.0
        self._quit = threading.Event()
        answer_with_stacks(ledger)

    def first_step_done(self) -> None:
        """From now on, no wait may take longer than the time-out."""
        self._patience = self._timeout

    def stop(self) -> None:
        """End the thread."""
        self._quit.set()

    def run(self) -> None:
        """Look, until it is over."""
        before = time.monotonic()
        while not self._quit.wait(self._interval):
            asleep, before = time.monotonic() - before, time.monotonic()
            self._ledger.mine.doubles[Fact.HEARTBEAT] = before
            if asleep > MOST_SILENT:  # this process was stopped, and what it sees is old
                continue
            if self._left_behind() and self._speaks():
                self._end_all(report(self._ledger, self._size, []))
            if self._speaks() and (late := self._overdue()) and not self._quit.wait(self._interval):
                again = self._overdue()
                if {entry.began for _, entry in late} & {entry.began for _, entry in again}:
                    self._bark(again)

    def _left_behind(self) -> bool:
        """Return True when a rank of this node is gone for so long that nobody else will end the job."""
        gone = not self._go_on and any(r.present and not r.process_lives() for r in self._ledger.records)
        self._gone_since = (self._gone_since or time.monotonic()) if gone else 0.0
        return gone and time.monotonic() - self._gone_since > GONE_SECONDS

    def _speaks(self) -> bool:
        """Return True on the lowest rank of the node that gives signs of life."""
        now = time.monotonic()
        for record in self._ledger.records:
            if record is self._ledger.mine:
                return True
            silent = now - record.fact(Fact.HEARTBEAT)
            if record.present and silent < max(MOST_SILENT, 3 * self._interval):
                return False
        return True

    def _overdue(self) -> list[tuple[Record, Entry]]:
        """Return the ranks of this node that wait for too long, and for what."""
        now = time.monotonic()
        waits = [(record, record.wait()) for record in self._ledger.records if record.present]
        return [(record, wait) for record, wait in waits if wait and now - wait.waits > self._patience]

    def _bark(self, overdue: list[tuple[Record, Entry]]) -> None:
        text = report(self._ledger, self._size, overdue)
        late = [r for r in self._ledger.records if r.present and r.wait_for_others() is None and r.reachable()]
        if not self._go_on or not late or self._ledger.mine in late:
            self._end_all(text)
        print(f"{text}\n  killed; the others go on", file=sys.stderr, flush=True)
        for record in late:
            os.kill(int(record.fact(Fact.PID)), signal.SIGKILL)
        self._quit.wait(self._timeout)

    def _end_all(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody may be left to read it
            print(text, file=sys.stderr, flush=True)
        # MPI_Abort may hang where a rank does not answer: then this node's ranks are killed, and the launcher the rest
        threading.Thread(target=self._abort, args=(TIMED_OUT,), daemon=True).start()
        time.sleep(AFTER_ABORT)
        for record in self._ledger.records:
            if record is not self._ledger.mine and record.reachable():
                os.kill(int(record.fact(Fact.PID)), signal.SIGKILL)
        os._exit(TIMED_OUT)


def report(ledger: Ledger, size: int, overdue: list[tuple[Record, Entry]]) -> str:
    """Return who waits for what, who has not come, and what that rank does instead."""
    now = time.monotonic()
    longest = max((now - entry.waits for _, entry in overdue), default=0.0)
    waits = {record.rank: wait for record in ledger.records if (wait := record.wait_for_others())}
    late = [record for record in ledger.records if record.rank not in waits]
    why = f"no progress for {longest:.0f} s (--timeout)" if overdue else "the launcher has not ended this job"
    lines = [f"mpitrain: {why}: {_verdict(ledger, waits, late, size)}"]
    for text, ranks in _by_text(waits).items():
        lines.append(f"  {say_ranks(ranks)} {'waits' if len(ranks) == 1 else 'wait'} in {text}")
    for record in late:
        does = what_it_does(ledger, record) if record.present else "has left the program"
        last = record.last()
        where = f"; its last was number {last.number}, {now - last.began:.0f} s ago" if last else ""
        lines.append(f"  rank {record.rank} {does}{where}")
    return "\n".join(lines)


def _verdict(ledger: Ledger, waits: dict[int, Entry], late: list[Record], size: int) -> str:
    if difference := first_difference([(record.rank, record.entries()) for record in ledger.records]):
        return difference
    if late:
        input_is_late = all(record.wait() for record in late)
        return f"{say_ranks([r.rank for r in late])} {_is(late)} late{', waiting for input' if input_is_late else ''}"
    if len(ledger.records) < size:
        return f"all {len(ledger.records)} ranks of this node wait for ranks of other nodes"
    if len({entry.text for entry in waits.values()}) == 1:
        return "all ranks wait in the same call: a message is lost, or the network does not move"
    return "the ranks wait in different calls"


def _is(things: Sized) -> str:
    return "is" if len(things) == 1 else "are"


def _by_text(waits: dict[int, Entry]) -> dict[str, list[int]]:
    ranks: dict[str, list[int]] = {}
    for rank, entry in sorted(waits.items()):
        number = f"collective number {entry.number}: " if entry.number else ""
        ranks.setdefault(number + entry.text, []).append(rank)
    return ranks


def say_ranks(ranks: list[int], most: int = 8) -> str:
    """Return rank 3, or ranks 0, 1 and 4."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > most:
        return f"{len(ranks)} ranks ({', '.join(map(str, ranks[: most - 2]))} ...)"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"
