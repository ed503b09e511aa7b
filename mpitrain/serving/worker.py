"""The loop of a rank that serves: take a job, compute, reply."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..comm.mailbox import Mailbox
from ..errors import UserError
from .jobs import Cancel, Job, Reply
from .model import Cancelled, ServedModel

SIGNALS_SECONDS = 0.2
SIGN_OF_LIFE = 1.0  # seconds after which a rank that writes says so


class Post(Protocol):
    """The way between rank 0, which hands out jobs, and the loop of a rank."""

    def take(self) -> Job | None:
        """Return the next job, as soon as there is one; None at the end."""

    def is_cancelled(self, number: int) -> bool:
        """Return True if no client waits for the job any more."""

    def reply(self, reply: Reply) -> None:
        """Send a reply."""


class OwnPost:
    """The way between rank 0's event loop and its own main thread.

    Parameters
    ----------
    deliver : callable(Reply)
        Called in the main thread.
    """

    def __init__(self, deliver: Callable[[Reply], Any]):
        self._jobs: queue.SimpleQueue[Job | str] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self.reply = deliver

    def put(self, item: Job | Cancel | str) -> None:
        """Hand over a job, the request to drop one, or END; for any thread."""
        if isinstance(item, Cancel):
            self._cancelled.add(item.number)
        else:
            self._jobs.put(item)

    def take(self) -> Job | None:
        """Return the next job, as soon as there is one; None at the end."""
        while True:  # a signal that comes just before a wait is handled after it
            with contextlib.suppress(queue.Empty):
                item = self._jobs.get(timeout=SIGNALS_SECONDS)
                return item if isinstance(item, Job) else None

    def is_cancelled(self, number: int) -> bool:
        """Return True if no client waits for the job any more."""
        self._cancelled = {other for other in self._cancelled if other >= number}
        return number in self._cancelled


class InLoop:
    """Rank 0 alone, with a model so quick that the event loop computes by itself: no thread takes turns with it.

    Parameters
    ----------
    model : ServedModel
    deliver : callable(Reply)
        Called in the event loop, soon after the job came.
    """

    def __init__(self, model: ServedModel, deliver: Callable[[Reply], Any]):
        self._model, self._deliver = model, deliver
        self._ends = threading.Event()

    def put(self, item: Job | Cancel | str) -> None:
        """Compute a job, or end; called in the event loop."""
        if isinstance(item, Job):
            reply = run_job(self._model, item, self)
            assert reply is not None
            self._deliver(reply)
        elif isinstance(item, str):
            self._ends.set()

    def take(self) -> Job | None:
        """Wait in the main thread, which handles signals, and return None at the end."""
        while not self._ends.wait(SIGNALS_SECONDS):
            pass
        return None

    def is_cancelled(self, number: int) -> bool:
        """Return False."""
        return False

    def reply(self, reply: Reply) -> None:
        """Deliver a reply."""
        self._deliver(reply)


class MailPost:
    """The way between rank 0 and another rank, by messages.

    Parameters
    ----------
    mailbox : Mailbox
        Of all ranks.
    """

    def __init__(self, mailbox: Mailbox):
        self._mailbox = mailbox
        self._jobs: list[Job | str] = []
        self._cancelled = -1

    def take(self) -> Job | None:
        """Return the next job, as soon as there is one; None at the end, and where the launcher is gone."""
        while not self._jobs:
            found = self._mailbox.wait()
            if found is None:
                return None
            self._sort(found[1])
        item = self._jobs.pop(0)
        return item if isinstance(item, Job) else None

    def is_cancelled(self, number: int) -> bool:
        """Return True if no client waits for the job any more."""
        while (found := self._mailbox.poll()) is not None:
            self._sort(found[1])
        return self._cancelled == number

    def reply(self, reply: Reply) -> None:
        """Send a reply."""
        self._mailbox.send(reply, 0)

    def _sort(self, item: Any) -> None:
        if isinstance(item, Cancel):
            self._cancelled = item.number
        else:
            self._jobs.append(item)


def work(model: ServedModel, post: Post) -> None:
    """Compute jobs until the end."""
    while (job := post.take()) is not None:
        reply = run_job(model, job, post)
        if reply is not None:
            post.reply(reply)


def run_job(model: ServedModel, job: Job, post: Post) -> Reply | None:
    """Compute a job and return the reply; None on ranks that do not get the result."""
    began = time.perf_counter()
    result, error, status = None, "", 500
    try:
        result = _compute(model, job, post)
    except UserError as refusal:
        error, status = str(refusal), 422
    except MemoryError as failure:
        error = f"the rank is out of memory: {failure}"
    if result is None and not error:
        return None
    return Reply(job.number, result, error=error, status=status, seconds=time.perf_counter() - began)


def _compute(model: ServedModel, job: Job, post: Post) -> Any:
    """Return the result of a job, or None on ranks that do not get it."""
    if job.request is None:
        assert job.x is not None
        return model.predict(job.x)
    told, streams = time.monotonic(), job.request.stream

    def say(piece: str) -> None:
        nonlocal told
        if streams or time.monotonic() - told > SIGN_OF_LIFE:
            told = time.monotonic()
            post.reply(Reply(job.number, piece=piece))

    try:
        return model.write(job.request, say, lambda: post.is_cancelled(job.number))
    except Cancelled:
        return {}
