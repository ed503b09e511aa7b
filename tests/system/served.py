"""A service for tests: ``mpitrain serve`` as a user starts it, and requests to it."""

import http.client
import json
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from .conftest import ENVIRONMENT, OPEN_MPI


class Served:
    """A service that is killed at the end of a ``with`` block, if it has not ended."""

    def __init__(self, directory, *options, ranks=1, environment=None, launcher=()):
        self.ranks = ranks
        launcher = ["mpirun", *launcher, "-n", str(ranks)] if ranks > 1 else []
        command = [*launcher, sys.executable, "-m", "mpitrain", "serve", "run", "--port", "0", *options]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env=ENVIRONMENT | {"PYTHONFAULTHANDLER": "1"} | (environment or {}),
            text=True,
            **pipes,
        )
        self.line = self.process.stdout.readline()
        if not self.line.startswith("http://"):
            self.process.kill()
            pytest.fail(f"{self.line}{self.process.communicate(timeout=30)}")
        self.url = self.line.split()[0]
        self.port = urlsplit(self.url).port

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate(timeout=60)

    def ask(self, path, body=None, headers=(), method=None, *, timeout=30):
        """Return status, headers and content; a body that is no bytes is sent as JSON."""
        headers = dict(headers)
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.headers["Content-Type"] == "application/json":
            content = json.loads(content)
        return answer.status, answer.headers, content

    def count(self, name):
        """Return the value of a metric."""
        lines = self.ask("/metrics")[2].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"mpitrain_{name}"))

    def end(self, number=signal.SIGTERM):
        """Send a signal; return the exit code, the rest of the output and the errors.

        Open MPI's mpirun kills the ranks when it gets SIGTERM itself.
        """
        if OPEN_MPI and self.ranks > 1 and number == signal.SIGTERM:
            number = signal.SIGUSR1
        self.process.send_signal(number)
        return self.rest()

    def rest(self, timeout=60):
        """Return the exit code, the rest of the output and the errors, once it has ended."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # one process prints the stacks of its threads
            time.sleep(1)
            self.process.kill()
            pytest.fail("serve hung\n" + "\n".join(self.process.communicate()))
        return self.process.returncode, out, err


def until(condition, seconds=30):
    """Wait for a condition, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
