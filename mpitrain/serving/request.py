"""One request and the answer to it, on top of ASGI."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from .access import Headers
from .connection import KEY, Connection
from .refusal import Refusal

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Fields = Sequence[tuple[bytes, bytes]]

MOST_ARRIVING = 16  # of the longest bodies, that may be in memory while they arrive
LONG_ANSWER = 1 << 16  # bytes from which on a client may be slow to take an answer
SAFE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Gone(Exception):
    """Raised when a client has gone away."""


@dataclass
class Limits:
    """Limits of requests.

    Attributes
    ----------
    body_bytes : int
    seconds : float
        From the arrival of a request to its answer.
    send_seconds : float
        For a client to take a long answer.
    arriving : int
        Bytes of all bodies that arrive in pieces, at this moment.
    """

    body_bytes: int
    seconds: float
    send_seconds: float = 30.0
    arriving: int = 0


@dataclass
class Request:
    """One request.

    Attributes
    ----------
    began : float
    sent : bool
        True once an answer was begun.
    """

    scope: Scope
    receive: Receive
    send: Send
    headers: Headers
    limits: Limits
    began: float = field(default_factory=time.perf_counter)
    sent: bool = False

    @property
    def connection(self) -> Connection:
        """The connection that it came by."""
        found: Connection = self.scope[KEY]
        return found

    @property
    def media_type(self) -> str:
        """Content-Type without its parameters."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def query(self) -> dict[str, list[str]]:
        """The query of the address by key."""
        text = self.scope["query_string"].decode("latin-1")
        return parse_qs(text, keep_blank_values=True) if text else {}

    async def body(self) -> bytes:
        """Return the body; its length is limited before it is read.

        Raises
        ------
        Refusal
            If it is too long (413), or too many long ones arrive (503).
        Gone
            If the client goes away.
        """
        most, limits = self.limits.body_bytes, self.limits
        told = self.headers.get(b"content-length", b"0")
        if told.isdigit() and int(told) > most:
            raise _too_long(most)
        message = await self.receive()
        if message["type"] != "http.disconnect" and not message.get("more_body"):
            body: bytes = message["body"]
            if len(body) > most:
                raise _too_long(most)
            return body
        parts, length = list[bytes](), 0
        try:
            while message["type"] != "http.disconnect":
                parts.append(message["body"])
                length += len(message["body"])
                limits.arriving += len(message["body"])
                if length > most:
                    raise _too_long(most)
                if limits.arriving > MOST_ARRIVING * most:
                    raise Refusal(503, "too many long requests arrive at once: try again", retry_after=1)
                if not message.get("more_body"):
                    return b"".join(parts)
                message = await self.receive()
        finally:
            limits.arriving -= length
        raise Gone

    async def answer(self, status: int, body: bytes, fields: Fields) -> int:
        """Send a whole answer and return its status."""
        await self.begin(status, (*fields, (b"content-length", str(len(body)).encode())))
        await self.send_part(body, more=False)
        return status

    async def begin(self, status: int, fields: Fields) -> None:
        """Begin the answer, unless that is done."""
        if not self.sent:
            self.sent = True
            await self.send({"type": "http.response.start", "status": status, "headers": (*fields, *SAFE)})

    async def send_part(self, body: bytes, *, more: bool) -> None:
        """Send a part of the answer; raise Gone for a client that does not take it."""
        part = {"type": "http.response.body", "body": body, "more_body": more}
        if len(body) <= LONG_ANSWER and not more:
            await self.send(part)
            return
        try:
            async with asyncio.timeout(self.limits.send_seconds):
                await self.send(part)
        except TimeoutError:
            self.connection.transport.abort()
            raise Gone from None


def _too_long(most: int) -> Refusal:
    return Refusal(413, f"the body has more than {most:,} bytes (--max-body)")
