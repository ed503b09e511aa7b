"""Connections of the server: uvicorn's, with a limit of time for each request, and news of clients that go away."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

KEY = "mpitrain"
"""The name in an ASGI scope of its connection."""


class Connection(HttpToolsProtocol):
    """A connection to a client.

    Attributes
    ----------
    read_seconds : float
        In which a client must have sent a whole request, from its first byte (or from the connection) on.
    on_lost : callable, optional
        Called when the client goes away while its request is answered.
    """

    read_seconds = 10.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_lost: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_head = self._is_whole = False

    @property
    def is_alone(self) -> bool:
        """True if there is no other connection."""
        return len(self.connections) == 1

    def connection_made(self, transport: Any) -> None:
        """Give the client time to send a request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.read_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what the client has asked for."""
        self._stop_timer()
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None

    def data_received(self, data: bytes) -> None:
        """Read a request; the rest of it, if some is missing, has to come in time."""
        super().data_received(data)
        if self._is_whole:
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.read_seconds, self._too_slow)

    def on_message_begin(self) -> None:
        """Put the connection into the scope of the request."""
        super().on_message_begin()
        scope: Any = self.scope
        scope[KEY] = self
        self._has_head = self._is_whole = False

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._has_head = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that all has come."""
        self._is_whole = True
        super().on_message_complete()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        """Close the connection, with an answer if none was begun."""
        self._timer = None
        if self.transport.is_closing():
            return
        if not self._has_head or not self.cycle.response_started:
            status = HTTPStatus.REQUEST_TIMEOUT
            text = f'{{"error": "the request did not come within {self.read_seconds:g} s"}}'.encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            self.transport.write(f"{head}content-length: {len(text)}\r\nconnection: close\r\n\r\n".encode() + text)
        self.transport.close()
