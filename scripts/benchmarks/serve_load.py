"""Ask a service again and again from several connections, and print how fast it answered, as JSON.

One process, an event loop of uvloop and a protocol that looks for the end of an answer and nothing else: about 10 us a
request. Its own share of a core is printed, so that a run that it limits is seen.

    python scripts/benchmarks/serve_load.py --port 8000 --body body.json --requests 50000 --connections 64
"""

import argparse
import asyncio
import json
import resource
import time
from pathlib import Path
from typing import Any

import uvloop


class Client(asyncio.Protocol):
    """One connection, which sends the next request when the last one is answered."""

    def __init__(self, load: "Load"):
        self._load, self._began = load, 0.0
        self._received, self._need = b"", 0

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self._transport = transport
        self._next()

    def _next(self) -> None:
        request = self._load.take()
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Look for the end of the answer."""
        if self._received:
            data = self._received + data
        if not self._need:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                self._received = data
                return
            self._need = head + 4 + _length(data[:head])
        if len(data) < self._need:
            self._received = data
            return
        self._load.seconds.append(time.perf_counter() - self._began)
        if not data.startswith(b"HTTP/1.1 200"):
            self._load.wrong.append(data[:200].decode("latin-1"))
        self._received, self._need = b"", 0
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the load."""
        self._load.lost(error)


def _length(head: bytes) -> int:
    head = head.lower()
    start = head.index(b"content-length:") + 15
    end = head.find(b"\r\n", start)
    return int(head[start : end if end > 0 else None])


class Load:
    """The requests that are left, and the times of those that were answered."""

    def __init__(self, request: bytes, count: int, connections: int):
        self._request, self._left, self._open = request, count, connections
        self.seconds: list[float] = []
        self.wrong: list[str] = []
        self.ended = asyncio.Event()

    def take(self) -> bytes | None:
        """Return the next request; None if there are no more."""
        if not self._left:
            return None
        self._left -= 1
        return self._request

    def lost(self, error: Exception | None) -> None:
        """Count a connection that is closed."""
        if error is not None or self._left:
            self.wrong.append(f"connection lost: {error}")
        self._open -= 1
        if not self._open:
            self.ended.set()


async def run(host: str, port: int, request: bytes, count: int, connections: int) -> dict[str, Any]:
    """Return the figures of one run."""
    load, loop = Load(request, count, connections), asyncio.get_running_loop()
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(connections):
        await loop.create_connection(lambda: Client(load), host, port)
    await load.ended.wait()
    seconds, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    times = sorted(load.seconds)
    return {
        "connections": connections,
        "requests": len(times),
        "wrong": len(load.wrong),
        "first_wrong": load.wrong[:1],
        "per_second": len(times) / seconds,
        "p50_ms": 1e3 * times[len(times) // 2],
        "p99_ms": 1e3 * times[len(times) * 99 // 100],
        "most_ms": 1e3 * times[-1],
        "own_share": (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--body", type=Path, required=True, help="file to send")
    parser.add_argument("--type", default="application/json", help="its Content-Type")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    body = given.body.read_bytes()
    head = f"POST {given.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {given.type}\r\nContent-Length: {len(body)}"
    request = head.encode() + b"\r\n\r\n" + body
    print(json.dumps(uvloop.run(run(given.host, given.port, request, given.requests, given.connections))))


if __name__ == "__main__":
    main()
