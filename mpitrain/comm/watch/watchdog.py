"""Watchdog: a thread on every rank that ends the job with a report if the ranks of its node wait for too long.

It reads the ledger several times per time-out. On each node the lowest rank whose own thread still runs
reports: so it works when rank 0 is the one that hangs. MPI is called to abort only. With several nodes, that of rank 0
asks the others for their ranks' states (``remote_query.py``) and reports for all; if it does not, the others do.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from .hang_report import RankStatus, rank_statuses, report
from .ledger import Ledger
from .remote_query import QueryService, QueryThread
from .slot import Entry, Fact, Record
from .stacks import answer_with_stacks

TIMED_OUT = 124  # exit code, that of timeout(1)
FIRST_STEP = 5  # factor of the time-out before the first step is done, while kernels are built and data are fetched
MOST_SILENT = 5.0  # seconds without a heartbeat after which another rank reports
GONE_SECONDS = 10.0  # seconds after a rank has died in which the launcher should end the others
TURN = 10.0  # seconds that other nodes wait for the report of rank 0's node, and a little more for each other
AFTER_ABORT = 2.0  # seconds after MPI_Abort until remaining ranks are killed


class Watchdog(threading.Thread):
    """Thread that watches the waits of this node.

    Parameters
    ----------
    ledger : Ledger
    size : int
        Number of ranks of the job.
    timeout : float
        Longest wait in seconds.
    abort : callable(int)
        Ends all ranks with an exit code.
    elastic : bool
        Kill late ranks and let the others continue, instead of ending the job.
    query_service : QueryService, optional
        Service for queries to other nodes.
    on_hang : callable(str), optional
        Called with the report, in place of an end of all ranks.
    """

    def __init__(
        self,
        ledger: Ledger,
        size: int,
        timeout: float,
        abort: Callable[[int], None],
        *,
        elastic: bool = False,
        query_service: QueryService | None = None,
        on_hang: Callable[[str], None] | None = None,
    ):
        super().__init__(name="mpitrain-watchdog", daemon=True)
        self._ledger, self._size, self._timeout, self._abort = ledger, size, timeout, abort
        self._elastic, self._on_hang = elastic, on_hang
        self._patience = FIRST_STEP * timeout
        self._interval = min(1.0, timeout / 8)
        self._gone_since = 0.0
        self._quit = threading.Event()
        self._alone = len(ledger.records) == size
        self._queries: QueryThread | None = None
        self._turn = 0.0
        if query_service is not None and not elastic:
            self._queries = query_service.connect(self._answer)
        if self._queries is not None:
            first = min(record.rank for record in ledger.records)
            self._turn = TURN + min(first / 50, TURN) if first else 0.0
        answer_with_stacks(ledger)

    def first_step_done(self) -> None:
        """Limit waits to the time-out from now on."""
        self._patience = self._timeout

    def stop(self) -> None:
        """End the thread."""
        self._quit.set()
        if self._queries is not None:
            self._queries.stop()

    def run(self) -> None:
        """Check the ledger until ``stop`` is called."""
        if self._queries is not None:
            self._queries.start()
        before = time.monotonic()
        while not self._quit.wait(self._interval):
            asleep, before = time.monotonic() - before, time.monotonic()
            self._ledger.mine.doubles[Fact.HEARTBEAT] = before
            if asleep > MOST_SILENT:  # this process was stopped, and its view is out of date
                continue
            if self._left_behind() and self._reports():
                self._end_all(report(rank_statuses(self._ledger), self._size, "the launcher has not ended this job"))
            if self._reports() and (late := self._overdue()) and not self._quit.wait(self._interval):
                again = self._overdue()
                if {entry.began for _, entry in late} & {entry.began for _, entry in again}:
                    self._report_overdue(again)

    def _left_behind(self) -> bool:
        """Return True if a rank of this node has died and the launcher has not ended the job in time."""
        gone = not self._elastic and any(r.present and not r.process_lives() for r in self._ledger.records)
        self._gone_since = (self._gone_since or time.monotonic()) if gone else 0.0
        return gone and time.monotonic() - self._gone_since > GONE_SECONDS

    def _reports(self) -> bool:
        """Return True on the lowest rank of the node with a heartbeat."""
        now = time.monotonic()
        for record in self._ledger.records:
            if record is self._ledger.mine:
                return True
            silent = now - record.fact(Fact.HEARTBEAT)
            if record.present and silent < max(MOST_SILENT, 3 * self._interval):
                return False
        return True

    def _overdue(self) -> list[tuple[Record, Entry]]:
        """Return the ranks of this node that wait for too long, with their waits."""
        now = time.monotonic()
        waits = [(record, record.wait()) for record in self._ledger.records if record.present]
        return [(record, wait) for record, wait in waits if wait and now - wait.waits > self._patience + self._turn]

    def _report_overdue(self, overdue: list[tuple[Record, Entry]]) -> None:
        longest = max(time.monotonic() - entry.waits for _, entry in overdue)
        late = [r for r in self._ledger.records if r.present and r.wait_for_others() is None and r.reachable()]
        if self._elastic and not late and not self._alone and longest < 2 * self._patience + TURN:
            return  # another node kills its late rank
        known = rank_statuses(self._ledger)
        asked = self._queries is not None
        text = report(
            [*known, *self._ask(known)], self._size, f"no progress for {longest:.0f} s (--timeout)", asked=asked
        )
        if not self._elastic or not late or self._ledger.mine in late:
            return self._end_all(text)
        print(f"{text}\n  killed; the others continue", file=sys.stderr, flush=True)
        for record in late:
            os.kill(int(record.fact(Fact.PID)), signal.SIGKILL)
        self._quit.wait(self._timeout)

    def _ask(self, known: list[RankStatus]) -> list[RankStatus]:
        """Return the statuses of the ranks of other nodes."""
        here = {one.rank for one in known}
        others = [rank for rank in range(self._size) if rank not in here]
        return self._queries.ask(others) if self._queries is not None else []

    def _answer(self) -> list[RankStatus] | None:
        """Return the statuses of this node's ranks on the rank that reports for it."""
        return rank_statuses(self._ledger) if self._reports() else None

    def _end_all(self, text: str) -> None:
        if self._on_hang is not None:
            self._on_hang(text)
            self._quit.set()
            return
        with contextlib.suppress(OSError):  # standard error may be closed
            print(text, file=sys.stderr, flush=True)
        # MPI_Abort may hang if a rank does not respond: kill this node's ranks, and let the launcher end the rest
        threading.Thread(target=self._abort, args=(TIMED_OUT,), daemon=True).start()
        time.sleep(AFTER_ABORT)
        for record in self._ledger.records:
            if record is not self._ledger.mine and record.reachable():
                os.kill(int(record.fact(Fact.PID)), signal.SIGKILL)
        os._exit(TIMED_OUT)
