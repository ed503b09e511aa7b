"""The server: a socket, and a thread whose event loop answers requests by uvicorn."""

import asyncio
import contextlib
import functools
import logging
import resource
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop

from ..pages.serve import cannot_listen, find_address, is_loopback
from .app import App
from .connection import Connection
from .scheduler import Scheduler

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 60


def listen(host: str, port: int) -> tuple[socket.socket, bool]:
    """Return a socket that listens, and whether only this host reaches it.

    Raises
    ------
    UserError
        If it cannot listen there.
    """
    _allow_many_connections()
    family, address = find_address(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise cannot_listen(host, port, error) from None
    listener.setblocking(False)
    return listener, is_loopback(address)


def _allow_many_connections() -> None:
    """Raise the limit of open files to the largest that this user may have: a connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class ServerThread(threading.Thread):
    """Thread of the server.

    Parameters
    ----------
    app : App
    scheduler : Scheduler
    listener : socket
    read_seconds, drain_seconds : float
        In which a client must send a request; in which all answers must be sent once the service ends.
    at_end : callable()
        Called in this thread, when it ends.

    Attributes
    ----------
    failure : BaseException or None
        What has ended it, if not ``drain``.
    """

    def __init__(
        self,
        app: App,
        scheduler: Scheduler,
        listener: socket.socket,
        *,
        read_seconds: float,
        drain_seconds: float,
        at_end: Callable[[], Any],
    ):
        super().__init__(name="mpitrain-server", daemon=True)
        self._app, self._scheduler, self._listener, self._at_end = app, scheduler, listener, at_end
        connection = type("LimitedConnection", (Connection,), {"read_seconds": read_seconds})
        config = uvicorn.Config(
            app,
            http=connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(drain_seconds) + 1,
        )
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.started = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Answer requests until ``drain``."""
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self.failure = error
        finally:
            self.started.set()
            self._at_end()

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in the event loop; for any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(functools.partial(function, *args))

    def drain(self) -> None:
        """Take no more requests, and end when those that were taken are answered; for any thread."""
        self.call(self._drain)

    def _drain(self) -> None:
        self._app.draining = True
        self._server.should_exit = True

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scheduler.start()
        self.started.set()
        await self._server.serve(sockets=[self._listener])
