"""The pages about runs in a real browser, and a run that is watched from before its start to its end."""

import html
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpitrain.pages import serve
from mpitrain.pages.page import page
from mpitrain.pages.run import open_run
from tests.browser import BROWSER, DRIVER, Driver, run_browser
from tests.run_files import START, evaluation, lines, serving, write_run

from .conftest import ENVIRONMENT

AXE = importlib.util.find_spec("axe_core_python")
POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')
AUDIT = """
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const bad = found.violations.map(one => [one.impact, one.id, one.nodes.map(node => node.html.slice(0, 200))]);
  parent.postMessage({bad, passed: found.passes.length, width: document.documentElement.scrollWidth}, "*");
});
"""
FRAME = """<!DOCTYPE html><html lang="en"><title>frame</title><body style="margin:0"><pre id="out"></pre><script>
onmessage = event => document.getElementById("out").textContent = JSON.stringify(event.data);
</script><iframe title="page" src="page.html" style="width:WIDTHpx;height:900px;border:0"></iframe>"""
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium here")
pytestmark = pytest.mark.timeout(300)


@needs_browser
@pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed")
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_accessible_and_fits(tmp_path, width):
    """axe-core finds nothing, with all parts unfolded; it needs a page without its policy to run in it.

    A frame is as narrow as a phone; a window of a browser is not.
    """
    runs = [open_run(write_run(tmp_path / name)) for name in ("one", "two")]
    text = POLICY.sub("", page(runs)).replace("<details>", "<details open>")
    script = Path(AXE.origin).with_name("axe.min.js").read_text("utf-8")
    (tmp_path / "page.html").write_text(text.replace("</body>", f"<script>{script}{AUDIT}</script></body>"))
    (tmp_path / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    address = (tmp_path / "frame.html").as_uri()
    shown = run_browser(tmp_path, address, "--dump-dom", "--virtual-time-budget=10000").stdout
    found = json.loads(html.unescape(re.search('<pre id="out">(.*?)</pre>', shown, re.DOTALL)[1]))
    assert found["bad"] == []
    assert found["passed"] > 15
    assert found["width"] <= width


@needs_browser
@pytest.mark.skipif(DRIVER is None, reason="no chromedriver here")
def test_the_live_page_follows_the_run(tmp_path, monkeypatch):
    """Unfolded parts stay so; an end of the server is said, and a new one is found again."""
    monkeypatch.setattr(serve, "PAUSE", 0.0)
    path = tmp_path / "run"
    driver = Driver(tmp_path / "profile")
    try:
        with serving(path) as server:
            driver.ask("/url", {"url": server.url})
            assert "There is no such directory now." in driver.run("return document.body.innerText")
            write_run(path, report=None, examples=None, events=[START], steps=10)
            wait_for(driver, "return document.body.innerText.includes('started on 3 ranks')")
            driver.run("document.querySelector('details').open = true")
            with open(path / "metrics.jsonl", "a") as file:
                file.write(lines([evaluation(20)]))
            wait_for(driver, "return document.body.innerText.includes('2 evaluations of run')")
            assert driver.run("return document.querySelectorAll('details[open]').length") == 1
            assert driver.ask("/se/log", {"type": "browser"}) == []
        wait_for(driver, "return document.getElementById('live').textContent.includes('does not answer')")
    finally:
        driver.end()


def wait_for(driver, script, seconds=30):
    deadline = time.monotonic() + seconds
    while not driver.run(script):
        assert time.monotonic() < deadline, driver.run("return document.body.innerText")
        time.sleep(0.1)


def test_a_run_is_watched_and_reported(mpitrain, tmp_path):
    command = [sys.executable, "-m", "mpitrain", "watch", "run", "--terminal"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    watch = subprocess.Popen(command, cwd=tmp_path, text=True, env=ENVIRONMENT, **streams)
    try:
        assert watch.stdout.readline() == "run: There is no such directory now.\n"
        code, _, err = mpitrain(2, "--epochs", 2, "--out", "run", "--metrics", "f1")
        assert code == 0, err
        out, err = watch.communicate(timeout=30)
    finally:
        watch.kill()
    assert (watch.returncode, err) == (0, "")
    assert [line.split()[3] for line in out.splitlines() if line.startswith("step ")] == ["1", "2"]
    assert out.endswith("run: Ended: all steps are done.\n")
    made = subprocess.run(
        [*command[:3], "report", "run"], cwd=tmp_path, env=ENVIRONMENT, **streams, text=True, timeout=60
    )
    assert (made.returncode, made.stdout) == (0, "report.html: open it in a browser\n"), made.stderr
    text = (tmp_path / "report.html").read_text("utf-8")
    assert text.count("<section>") == 11
    assert text.count("<img ") == 16
    assert "mpitrain -n 2 --epochs 2 --out run --metrics f1" in text
    assert "class='failed'" not in text
