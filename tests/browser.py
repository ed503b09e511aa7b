"""A browser without a window, for pages of one file."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1600,900",
    "--virtual-time-budget=3000",
)  # fmt: skip


def run_browser(tmp_path, address, *arguments):
    command = [BROWSER, *SWITCHES, f"--user-data-dir={tmp_path / 'profile'}", *arguments, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)


def dump(tmp_path, page, fragment):
    result = run_browser(tmp_path, f"{page.as_uri()}#{fragment}", "--dump-dom")
    assert 'data-ready="1"' in result.stdout, result.stderr
    return result.stdout


class Driver:
    """A browser that lives in real time, by the WebDriver protocol."""

    def __init__(self, profile, *switches):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        arguments = [*SWITCHES[:-1], f"--user-data-dir={profile}", *switches]
        wanted = {
            "goog:chromeOptions": {"binary": BROWSER, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self.session = ""
        deadline = time.monotonic() + 60
        while not self.session:
            try:
                self.session = self.ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            except urllib.error.URLError:
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def ask(self, path, body, method="POST"):
        address = f"{self.address}/session" + (f"/{self.session}{path}" if self.session else "")
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        return self.ask("/execute/sync", {"script": script, "args": []})

    def end(self):
        try:
            if self.session:
                self.ask("", None, "DELETE")
        finally:
            self.process.kill()
            self.process.wait(timeout=10)
