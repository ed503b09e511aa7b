"""The service: everything put together, on each rank."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ..comm.mailbox import Mailbox
from ..comm.world import World
from ..device import CPU
from ..errors import AgreedError
from .access import Access
from .answers import Answers
from .app import App
from .courier import Courier
from .http import ServerThread
from .inputs import Inputs
from .jobs import Lost, Reply
from .metrics import Metrics
from .model import ServedModel
from .replicas import Replicas
from .request import Limits
from .scheduler import Scheduler
from .signature import describe
from .worker import InLoop, MailPost, OwnPost, work

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that end a service; Open MPI's mpirun hands SIGUSR1 on, and kills all ranks when it gets SIGTERM itself."""

TIMED_OUT = 124  # exit code, that of timeout(1)
QUICK = 0.002  # seconds of a batch that the event loop computes by itself, if there is one rank
AFTER_ABORT = 3.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a service.

    Attributes
    ----------
    max_batch, max_queue : int
        Samples that are computed together, and that wait.
    max_delay, timeout, read_timeout, rank_timeout : float
        Seconds; see ``Scheduler``, ``Limits`` and ``Connection``.
    max_body : int
        Bytes.
    """

    max_batch: int = 64
    max_delay: float = 0.0
    max_queue: int = 1024
    max_body: int = 16_000_000
    timeout: float = 30.0
    read_timeout: float = 10.0
    rank_timeout: float = 60.0


def serve_jobs(model: ServedModel, mailbox: Mailbox) -> int:
    """Compute what rank 0 hands out until it says that the service ends, and return the exit code; on other ranks."""
    for number in ENDS:  # rank 0 gets them, too, and ends the service
        signal.signal(number, signal.SIG_IGN)
    work(model, MailPost(mailbox))
    if 0 not in mailbox.lost:
        return 0
    if mailbox.rank == min(set(range(mailbox.size)) - mailbox.lost):
        print("mpitrain: rank 0, which takes the requests, is lost: the service ends", file=sys.stderr, flush=True)
    return 1


class Service:
    """The service on rank 0.

    Parameters
    ----------
    model : ServedModel
    name : str
        Of the run.
    leaders : sequence of int
        The rank of each replica that replies.
    mailbox : Mailbox or None
        Of all ranks; None where there is one rank.
    world : World
    listener : socket
    token : str
        Empty where none is asked for.
    settings : Settings
    """

    def __init__(
        self,
        model: ServedModel,
        name: str,
        leaders: list[int],
        mailbox: Mailbox | None,
        world: World,
        listener: Any,
        token: str,
        settings: Settings,
    ):
        self._model, self._world, self._interrupted = model, world, False
        self._own: OwnPost | InLoop = OwnPost(self._deliver)
        alone = world.size == 1 and model.device is CPU  # a GPU's queue belongs to the main thread
        if alone and not model.writes and model.seconds_of(settings.max_batch) < QUICK:
            self._own = InLoop(model, lambda reply: self._scheduler.take_reply(reply))
        self._courier = None if mailbox is None else Courier(mailbox, self._deliver)
        self._replicas = Replicas(model.replicas, leaders, self._own, self._courier)
        metrics, inputs = Metrics(), Inputs(model.run)
        self._scheduler = Scheduler(
            self._replicas,
            metrics,
            max_batch=settings.max_batch,
            max_delay=settings.max_delay,
            max_queue=settings.max_queue,
            patience=settings.rank_timeout,
            width=0 if model.whole or inputs.kind not in ("text", "tokens") else model.run.signature.input_shape[0],
        )
        self._scheduler.on_lost = self._give_up
        limits = Limits(body_bytes=settings.max_body, seconds=settings.timeout)
        facts = describe(model.run, name, inputs.kind)
        app = App(inputs, Answers(model.run), self._scheduler, metrics, Access(token), limits, facts)
        drain = settings.timeout + settings.read_timeout
        self._server = ServerThread(
            app,
            self._scheduler,
            listener,
            read_seconds=settings.read_timeout,
            drain_seconds=drain,
            at_end=self._replicas.end,
        )

    def run(self) -> int:
        """Serve until a signal of ``ENDS``; return the exit code."""
        for number in ENDS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._signaled)
        if self._courier is not None:
            self._courier.start()
        self._server.start()
        work(self._model, self._own)
        self._server.join()
        if self._courier is not None:
            self._courier.join()
        if self._server.failure is not None:
            raise AgreedError(f"the server has failed: {self._server.failure!r}", code=1)
        if any(one.is_late and not one.is_lost for one in self._replicas.all):
            self._give_up()
        return 0

    def _deliver(self, news: Reply | Lost) -> None:
        if isinstance(news, Lost):
            self._server.call(self._scheduler.lose, news.ranks)
        else:
            self._server.call(self._scheduler.take_reply, news)

    def _signaled(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._interrupted = True
        self._server.drain()

    def _give_up(self) -> None:
        """End all ranks, some of which hang."""
        late = [rank for one in self._replicas.all if one.is_late for rank in one.ranks]
        ranks = f"rank {late[0]}" if len(late) == 1 else f"ranks {', '.join(map(str, late))}"
        print(
            f"mpitrain: {ranks} did not reply in time (--rank-timeout): the service ends", file=sys.stderr, flush=True
        )
        threading.Thread(target=self._world.abort, args=(TIMED_OUT,), daemon=True).start()
        time.sleep(AFTER_ABORT)  # MPI_Abort may hang as well, and nothing here must be waited for
        os._exit(TIMED_OUT)
