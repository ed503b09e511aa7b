"""A service of mpitrain against FastAPI with PyTorch: the same network, weights, requests and cores, in turn.

All services share some cores (``--cores``), the load generator has another one (``--load-core``). Each turn asks all
services once with each number of connections; medians of the turns are printed, with the memory of the services before
and after.

    scripts/bench serve [--model mlp] [--requests 50000] [--turns 3] [--ranks 1] [--cores 0] [--load-core 1]
"""

import argparse
import atexit
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = Path("build/bench-serve")


class Service:
    """A service in a process of its own, on some cores."""

    def __init__(self, name: str, command: list[str], cores: str, port: int, environment: dict[str, str]):
        self.name, self.port = name, port
        log = OUT / f"{name.split()[0]}.log"
        with log.open("w") as file:
            command = ["taskset", "-c", cores, *command]
            self._process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment)
        atexit.register(self._process.kill)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.1)
        raise SystemExit(f"{name} did not start: see {log}")

    def memory(self) -> float:
        """Return the resident MB of the process and those below it."""
        listed = subprocess.run(["ps", "-eo", "pid=,ppid=,rss="], capture_output=True, text=True).stdout
        rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
        inside, more = {self._process.pid}, True
        while more:
            found = {pid for pid, parent, _ in rows if parent in inside} - inside
            inside, more = inside | found, bool(found)
        return sum(rss for pid, _, rss in rows if pid in inside) / 1000

    def ask(self, body: bytes) -> Any:
        """Return the answer to one request."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/predict", body, {"Content-Type": "application/json"}
        )
        return json.load(urllib.request.urlopen(request, timeout=30))

    def end(self) -> int:
        """End it, and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def train(model: str, environment: dict[str, str]) -> None:
    """Train the network of both, and write its weights for the peer."""
    program = f"""
import sys
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file
from mpitrain.cli.main import main
from mpitrain.training.directory.trained_model import open_trained_model
run = Path({str(OUT / "run")!r})
if not (run / "model.safetensors").exists():
    assert main(["train", "--model", {model!r}, "--epochs", "3", "--out", str(run), "--progress", "none"]) == 0
opened = open_trained_model(run, "last")
weights = {{name: p.data for name, p in opened.model.named_parameters()}}
weights = {{name: load_file(run / "model.safetensors")[name] for name in weights}}
np.savez({str(OUT / "weights.npz")!r}, **weights, mean=opened.normalizer.mean[0], std=opened.normalizer.std[0])
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | environment)


def load(port: int, connections: int, requests: int, core: str) -> dict[str, Any]:
    """Return the figures of one run of the load generator."""
    command = [sys.executable, str(HERE / "serve_load.py"), "--port", str(port), "--body", str(OUT / "body.json")]
    options = ["--requests", str(requests), "--connections", str(connections)]
    ran = subprocess.run(
        ["taskset", "-c", core, *command, *options], check=True, capture_output=True, text=True, timeout=1800
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    if found["wrong"]:
        print(f"{found['wrong']} wrong answers: {found['first_wrong']}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mlp", help="mlp or convnet, on the digits")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--peer-requests", type=int, default=0, help="fewer for FastAPI; 0 for as many")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=1, help="ranks, and workers of uvicorn for FastAPI")
    parser.add_argument("--cores", default="0")
    parser.add_argument("--load-core", default="1")
    parser.add_argument("--connections", default="1,64")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with fastapi, uvicorn and torch")
    given = parser.parse_args()
    global OUT
    OUT = (OUT / given.model).resolve()
    OUT.mkdir(parents=True, exist_ok=True)
    root = str(HERE.parents[1])
    train(given.model, {"PYTHONPATH": root})
    image = [[int(v) for v in row] for row in DIGIT]
    (OUT / "body.json").write_text(json.dumps({"inputs": [image]}))
    body = (OUT / "body.json").read_bytes()
    ports = [free_port() for _ in range(3)]
    launcher = ["mpirun", "-n", str(given.ranks)] if given.ranks > 1 else []
    ours = [*launcher, sys.executable, "-m", "mpitrain", "serve", str(OUT / "run"), "--port", str(ports[0])]
    uvicorn = [given.peer_python, "-m", "uvicorn", "serve_peer:app", "--app-dir", str(HERE), "--no-access-log"]
    peer = [*uvicorn, "--log-level", "error", "--workers", str(given.ranks), "--port"]
    facts = {"SERVE_WEIGHTS": str(OUT / "weights.npz")}
    services = [
        Service("mpitrain serve", ours, given.cores, ports[0], {"PYTHONPATH": root}),
        Service("FastAPI def", [*peer, str(ports[1])], given.cores, ports[1], facts),
        Service("FastAPI-async def", [*peer, str(ports[2])], given.cores, ports[2], facts | {"SERVE_ASYNC": "1"}),
    ]
    answers = [one.ask(body)["predictions"][0] for one in services]
    for one in answers[1:]:
        assert one["class"] == answers[0]["class"]
        assert abs(one["probability"] - answers[0]["probability"]) < 1e-5, answers
    figures: dict[tuple[str, int], list[dict[str, Any]]] = {}
    before = {one.name: one.memory() for one in services}
    after: dict[str, list[float]] = {one.name: [] for one in services}
    counts = [int(count) for count in given.connections.split(",")]
    for one in services:
        load(one.port, 64, 500, given.load_core)
    for _ in range(given.turns):
        for connections in counts:
            for one in services:
                requests = given.requests if one is services[0] else given.peer_requests or given.requests
                found = load(one.port, connections, requests, given.load_core)
                figures.setdefault((one.name, connections), []).append(found)
        for one in services:
            after[one.name].append(one.memory())
    report(services, counts, figures)
    for one in services:
        sizes = ", ".join(f"{size:.1f}" for size in after[one.name])
        print(f"memory of {one.name}: {before[one.name]:.1f} MB at first, after each turn {sizes} MB")
    print("exit codes", [one.end() for one in services], "load average", os.getloadavg())


def report(services: list[Service], counts: list[int], figures: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """Print a table of medians."""
    print("| service | connections | requests/s | p50 ms | p99 ms | core of the load | to FastAPI |")
    print("|---|---|---|---|---|---|---|")
    for connections in counts:
        middle = {
            one.name: {
                key: statistics.median(row[key] for row in figures[one.name, connections])
                for key in ("per_second", "p50_ms", "p99_ms", "own_share")
            }
            for one in services
        }
        best = max(middle[one.name]["per_second"] for one in services[1:])
        for name, row in middle.items():
            cells = f"{row['per_second']:,.0f} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {row['own_share']:.0%}"
            print(f"| {name} | {connections} | {cells} | {row['per_second'] / best:.1f} |")


DIGIT = (
    "0 0 5 13 9 1 0 0", "0 0 13 15 10 15 5 0", "0 3 15 2 0 11 8 0", "0 4 12 0 0 8 8 0",
    "0 5 8 0 0 9 8 0", "0 4 11 0 1 12 7 0", "0 2 14 5 10 12 0 0", "0 0 6 13 10 0 0 0",
)  # fmt: skip
DIGIT = tuple(row.split() for row in DIGIT)  # type: ignore[assignment]

if __name__ == "__main__":
    main()
