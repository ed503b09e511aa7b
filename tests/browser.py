"""A browser without a window, for pages of one file."""

import shutil
import subprocess

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
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
