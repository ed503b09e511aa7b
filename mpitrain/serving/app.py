"""Answers to requests, as an ASGI application.

POST /predict    samples in, predictions out
POST /generate   a prompt in, a text out (language models)
GET  /model      what the model takes and gives
GET  /health     200 while requests are taken, 503 while the service ends; ?live: 200 as long as it runs
GET  /metrics    counts, for Prometheus
GET  /           a page to try it in a browser
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import orjson

from .access import Access, Headers
from .answers import Answers
from .connection import KEY, Connection
from .continuations import read_continuation
from .inputs import JSON, NPY, Inputs
from .metrics import Metrics
from .page import try_page
from .refusal import Refusal
from .scheduler import Failed, Full, Scheduler, Waiting

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

QUICK_BYTES = 1 << 18  # longer bodies are read in a thread
MOST_ARRIVING = 16  # of the longest bodies, that may be in memory while they arrive
LONG_ANSWER = 1 << 16  # bytes from which on a client may be slow to take an answer
JSON_TYPE = ((b"content-type", b"application/json"),)
SAFE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
PAGE_TYPE = (
    *((b"content-type", b"text/html; charset=utf-8"), (b"referrer-policy", b"no-referrer")),
    *((b"x-frame-options", b"DENY"), (b"cross-origin-resource-policy", b"same-origin")),
)


class Gone(Exception):
    """Raised when a client has gone away."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of requests.

    Attributes
    ----------
    body_bytes : int
    seconds : float
        From the arrival of a request to its answer.
    send_seconds : float
        For a client to take a long answer.
    """

    body_bytes: int
    seconds: float
    send_seconds: float = 30.0


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
    began: float = field(default_factory=time.perf_counter)
    sent: bool = False

    @property
    def media_type(self) -> str:
        """Content-Type without its parameters."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def query(self) -> dict[str, list[str]]:
        """The query of the address by key."""
        text = self.scope["query_string"].decode("latin-1")
        return parse_qs(text, keep_blank_values=True) if text else {}


class App:
    """The application.

    Parameters
    ----------
    inputs : Inputs
    answers : Answers
    scheduler : Scheduler
    metrics : Metrics
    access : Access
    limits : Limits
    title : str
        Name of the run, for the page.
    """

    def __init__(
        self,
        inputs: Inputs,
        answers: Answers,
        scheduler: Scheduler,
        metrics: Metrics,
        access: Access,
        limits: Limits,
        facts: dict[str, Any],
    ):
        self._inputs, self._answers, self._scheduler = inputs, answers, scheduler
        self._metrics, self._access, self._limits, self._facts = metrics, access, limits, facts
        self._in_flight = self._arriving = 0
        self.draining = False
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[int]]] = {
            ("GET", "/"): self._page,
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._counts,
            ("GET", "/model"): self._model,
            ("POST", "/generate" if inputs.kind == "prompt" else "/predict"): (
                self._generate if inputs.kind == "prompt" else self._predict
            ),
        }
        self._paths = {path for _, path in self._routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive, send, dict(scope["headers"]))
        path = scope["path"]
        self._in_flight += 1
        try:
            status = await self._answer(request, path)
        except Gone:
            self._metrics.dropped += 1
            return
        finally:
            self._in_flight -= 1
        self._metrics.answered(path if path in self._paths else "other", status, time.perf_counter() - request.began)

    async def _answer(self, request: Request, path: str) -> int:
        """Answer, or say in one sentence why not; return the status."""
        try:
            if refusal := self._access.refusal(request.headers, request.scope["query_string"]):
                raise Refusal(403, refusal)
            method = request.scope["method"]
            route = self._routes.get(("GET" if method == "HEAD" else method, path))
            if route is None:
                raise self._no_route(method, path)
            return await route(request)
        except Refusal as refused:
            found = refused
        except Full:
            found = Refusal(503, "too many requests wait (--max-queue): try again", retry_after=1)
        except Failed as failed:
            found = Refusal(failed.status, str(failed))
        except TimeoutError:
            found = Refusal(504, f"there was no result within {self._limits.seconds:g} s (--timeout)")
        if request.sent:
            raise Gone
        return await self._refuse(request, found)

    def _no_route(self, method: str, path: str) -> Refusal:
        if path in self._paths:
            known = next(known for known, other in self._routes if other == path)
            return Refusal(405, f"{path} is for {known}, and not for {method[:10]}")
        if path in ("/predict", "/generate"):
            other = "/generate: it continues texts" if path == "/predict" else "/predict: it continues no texts"
            return Refusal(404, f"this model is asked by {other}")
        return Refusal(404, f"there are only {', '.join(sorted(self._paths))}")

    async def _predict(self, request: Request) -> int:
        top = self._top(request)
        body, media_type = await self._body(request), request.media_type
        if len(body) > QUICK_BYTES or media_type.startswith("image/"):
            x = await asyncio.get_running_loop().run_in_executor(None, self._inputs.read, media_type, body)
        else:
            x = self._inputs.read(media_type, body)
        del body
        results = await self._wait(request, self._scheduler.predict(x, alone=request.scope[KEY].is_alone))
        if NPY.encode() in request.headers.get(b"accept", b""):
            return await self._send(request, 200, self._answers.npy(results), ((b"content-type", NPY.encode()),))
        return await self._send(request, 200, self._answers.json(results, top), JSON_TYPE)

    def _top(self, request: Request) -> int:
        if not request.scope["query_string"]:
            return 0
        given = request.query.get("top", ["0"])[-1]
        if not given.isdecimal() or len(given) > 9:
            raise Refusal(422, f"top must be a whole number, but it is {given[:20]!r}")
        return int(given)

    async def _generate(self, request: Request) -> int:
        if request.media_type != JSON:
            raise Refusal(415, f"the Content-Type is {request.media_type or 'missing'}, but must be {JSON}")
        asked = read_continuation(await self._body(request))
        if not asked.stream:
            facts = await self._wait(request, self._scheduler.write(asked))
            return await self._send(request, 200, orjson.dumps(facts), JSON_TYPE)
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        waiting = self._scheduler.write(asked, pieces.put_nowait)
        waiting.future.add_done_callback(lambda future: pieces.put_nowait(None))
        writer = asyncio.ensure_future(self._stream(request, waiting, pieces))
        await self._wait(request, waiting)
        return await writer

    async def _stream(self, request: Request, waiting: Waiting, pieces: "asyncio.Queue[str | None]") -> int:
        """Send the pieces of a text as they come, one line of JSON each, and the facts about it as the last line."""
        while (piece := await pieces.get()) is not None:
            await self._begin(request, 200, ((b"content-type", b"application/x-ndjson"),))
            await self._send_part(request, orjson.dumps({"piece": piece}) + b"\n", more=True)
        if waiting.future.cancelled() or waiting.future.exception() is not None:
            return 500
        await self._begin(request, 200, ((b"content-type", b"application/x-ndjson"),))
        await self._send_part(request, orjson.dumps(waiting.future.result()) + b"\n", more=False)
        return 200

    async def _wait(self, request: Request, waiting: Waiting) -> Any:
        """Return the result; drop the work if there is none in time, or if the client goes away."""
        if waiting.future.done():  # in the event loop
            return waiting.future.result()
        connection: Connection = request.scope[KEY]
        connection.on_lost = lambda: self._scheduler.drop(waiting)
        timer = asyncio.get_running_loop().call_later(self._limits.seconds, _time_out, waiting)
        try:
            return await waiting.future
        except asyncio.CancelledError:
            raise Gone from None
        except TimeoutError:
            self._scheduler.drop(waiting)
            raise
        finally:
            timer.cancel()
            connection.on_lost = None

    async def _body(self, request: Request) -> bytes:
        """Return the body; its length is limited before it is read."""
        if self.draining:
            raise Refusal(503, "the service ends, and takes no more requests", retry_after=5)
        most = self._limits.body_bytes
        told = request.headers.get(b"content-length", b"0")
        if told.isdigit() and int(told) > most:
            raise self._too_long(most)
        message = await request.receive()
        if message["type"] != "http.disconnect" and not message.get("more_body"):
            body: bytes = message["body"]
            if len(body) > most:
                raise self._too_long(most)
            return body
        parts, length = list[bytes](), 0
        try:
            while message["type"] != "http.disconnect":
                parts.append(message["body"])
                length += len(message["body"])
                self._arriving += len(message["body"])
                if length > most:
                    raise self._too_long(most)
                if self._arriving > MOST_ARRIVING * most:
                    raise Refusal(503, "too many long requests arrive at once: try again", retry_after=1)
                if not message.get("more_body"):
                    return b"".join(parts)
                message = await request.receive()
        finally:
            self._arriving -= length
        raise Gone

    @staticmethod
    def _too_long(most: int) -> Refusal:
        return Refusal(413, f"the body has more than {most:,} bytes (--max-body)")

    async def _page(self, request: Request) -> int:
        body, policy = try_page(self._facts)
        return await self._send(request, 200, body, (*PAGE_TYPE, (b"content-security-policy", policy)))

    async def _health(self, request: Request) -> int:
        ranks = [{"ranks": list(one.ranks), "late": one.is_late} for one in self._scheduler.replicas.all]
        ready = not self.draining and not all(one["late"] for one in ranks)
        status = 200 if ready or "live" in request.query else 503
        body = orjson.dumps({"live": True, "ready": ready, "replicas": ranks})
        return await self._send(request, status, body, JSON_TYPE)

    async def _model(self, request: Request) -> int:
        return await self._send(request, 200, orjson.dumps(self._facts), JSON_TYPE)

    async def _counts(self, request: Request) -> int:
        scheduler = self._scheduler
        replicas = sorted(scheduler.replicas.all, key=lambda one: one.ranks)
        facts: dict[str, Any] = {"in_flight": self._in_flight - 1, "draining": self.draining}
        text = self._metrics.text(replicas, queued=scheduler.queued, **facts)
        kind = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
        return await self._send(request, 200, text.encode(), kind)

    async def _refuse(self, request: Request, refusal: Refusal) -> int:
        headers: tuple[tuple[bytes, bytes], ...] = JSON_TYPE
        if refusal.retry_after:
            headers += ((b"retry-after", str(refusal.retry_after).encode()),)
        if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
            path = request.scope["path"]
            headers += ((b"allow", ", ".join(m for m, other in self._routes if other == path).encode()),)
        return await self._send(request, refusal.status, orjson.dumps({"error": refusal.text}), headers)

    async def _send(self, request: Request, status: int, body: bytes, headers: Any) -> int:
        await self._begin(request, status, (*headers, (b"content-length", str(len(body)).encode())))
        await self._send_part(request, body, more=False)
        return status

    async def _begin(self, request: Request, status: int, headers: Any) -> None:
        if not request.sent:
            request.sent = True
            await request.send({"type": "http.response.start", "status": status, "headers": (*headers, *SAFE)})

    async def _send_part(self, request: Request, body: bytes, *, more: bool) -> None:
        part = {"type": "http.response.body", "body": body, "more_body": more}
        if len(body) <= LONG_ANSWER and not more:
            await request.send(part)
            return
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await request.send(part)
        except TimeoutError:
            request.scope[KEY].transport.abort()
            raise Gone from None


def _time_out(waiting: Waiting) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(TimeoutError())
