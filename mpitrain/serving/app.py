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
from http import HTTPStatus
from typing import Any

import orjson

from .access import Access
from .answers import Answers
from .continuations import read_continuation
from .inputs import JSON, NPY, Inputs
from .metrics import Metrics
from .page import try_page
from .refusal import Refusal
from .request import Gone, Limits, Receive, Request, Scope, Send
from .scheduler import Scheduler
from .waiting import Failed, Full, Waiting

QUICK_BYTES = 1 << 18  # longer bodies are read in a thread
JSON_TYPE = ((b"content-type", b"application/json"),)
PAGE_TYPE = (
    *((b"content-type", b"text/html; charset=utf-8"), (b"referrer-policy", b"no-referrer")),
    *((b"x-frame-options", b"DENY"), (b"cross-origin-resource-policy", b"same-origin")),
)


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
        self._in_flight = 0
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
        request = Request(scope, receive, send, dict(scope["headers"]), self._limits)
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
        if len(body) > QUICK_BYTES or media_type.startswith(("image/", "audio/")):
            x = await asyncio.get_running_loop().run_in_executor(None, self._inputs.read, media_type, body)
        else:
            x = self._inputs.read(media_type, body)
        del body
        results = await self._wait(request, self._scheduler.predict(x, alone=request.connection.is_alone))
        if NPY.encode() in request.headers.get(b"accept", b""):
            return await request.answer(200, self._answers.npy(results), ((b"content-type", NPY.encode()),))
        return await request.answer(200, self._answers.json(results, top), JSON_TYPE)

    async def _body(self, request: Request) -> bytes:
        if self.draining:
            raise Refusal(503, "the service ends, and takes no more requests", retry_after=5)
        return await request.body()

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
            return await request.answer(200, orjson.dumps(facts), JSON_TYPE)
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        waiting = self._scheduler.write(asked, pieces.put_nowait)
        waiting.future.add_done_callback(lambda future: pieces.put_nowait(None))
        writer = asyncio.ensure_future(self._stream(request, waiting, pieces))
        await self._wait(request, waiting)
        return await writer

    async def _stream(self, request: Request, waiting: Waiting, pieces: "asyncio.Queue[str | None]") -> int:
        """Send the pieces of a text as they come, one line of JSON each, and the facts about it as the last line."""
        while (piece := await pieces.get()) is not None:
            await request.begin(200, ((b"content-type", b"application/x-ndjson"),))
            await request.send_part(orjson.dumps({"piece": piece}) + b"\n", more=True)
        if waiting.future.cancelled() or waiting.future.exception() is not None:
            return 500
        await request.begin(200, ((b"content-type", b"application/x-ndjson"),))
        await request.send_part(orjson.dumps(waiting.future.result()) + b"\n", more=False)
        return 200

    async def _wait(self, request: Request, waiting: Waiting) -> Any:
        """Return the result; drop the work if there is none in time, or if the client goes away."""
        if waiting.future.done():  # in the event loop
            return waiting.future.result()
        connection = request.connection
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

    async def _page(self, request: Request) -> int:
        body, policy = try_page(self._facts)
        return await request.answer(200, body, (*PAGE_TYPE, (b"content-security-policy", policy)))

    async def _health(self, request: Request) -> int:
        ranks = [{"ranks": list(one.ranks), "late": one.is_late} for one in self._scheduler.replicas.all]
        ready = not self.draining and not all(one["late"] for one in ranks)
        status = 200 if ready or "live" in request.query else 503
        body = orjson.dumps({"live": True, "ready": ready, "replicas": ranks})
        return await request.answer(status, body, JSON_TYPE)

    async def _model(self, request: Request) -> int:
        return await request.answer(200, orjson.dumps(self._facts), JSON_TYPE)

    async def _counts(self, request: Request) -> int:
        scheduler = self._scheduler
        replicas = sorted(scheduler.replicas.all, key=lambda one: one.ranks)
        facts: dict[str, Any] = {"in_flight": self._in_flight - 1, "draining": self.draining}
        text = self._metrics.text(replicas, queued=scheduler.queued, **facts)
        kind = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
        return await request.answer(200, text.encode(), kind)

    async def _refuse(self, request: Request, refusal: Refusal) -> int:
        headers: tuple[tuple[bytes, bytes], ...] = JSON_TYPE
        if refusal.retry_after:
            headers += ((b"retry-after", str(refusal.retry_after).encode()),)
        if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
            path = request.scope["path"]
            headers += ((b"allow", ", ".join(m for m, other in self._routes if other == path).encode()),)
        return await request.answer(refusal.status, orjson.dumps({"error": refusal.text}), headers)


def _time_out(waiting: Waiting) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(TimeoutError())
