"""The page on which a model is tried, in a browser: it draws, asks and shows the answer."""

import base64
import subprocess
import sys

import numpy as np
import pytest

from tests.browser import BROWSER, DRIVER, Driver

from .conftest import ENVIRONMENT
from .served import Served, until

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium and chromedriver")

PHONE = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
DRAW = """
const paper = document.querySelector(".paper"), box = paper.getBoundingClientRect();
paper.setPointerCapture = () => {};
const at = (name, x, y) => paper.dispatchEvent(new PointerEvent(name, {
  clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerId: 1, bubbles: true,
}));
at("pointerdown", 0.5, 0.1);
for (let y = 0.1; y < 0.95; y += 0.05) at("pointermove", 0.5, y);
at("pointerup", 0.5, 0.9);
"""


def train(directory, *arguments):
    command = [sys.executable, "-m", "mpitrain", "train", *arguments, "--out", "run", "--progress", "none"]
    subprocess.run(command, cwd=directory, env=ENVIRONMENT, check=True, capture_output=True, timeout=100)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = Driver(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.end()


def open_page(browser, served):
    browser.ask("/url", {"url": served.url})
    until(lambda: browser.run("return document.documentElement.dataset.ready") == "1")


def answer(browser):
    return until(lambda: browser.run("return document.getElementById('answer').innerText"))


def complaints(browser):
    """Return what the browser has to say, such as violations of the page's policy."""
    return browser.ask("/se/log", {"type": "browser"})


def test_a_digit_is_drawn(browser, tmp_path):
    train(tmp_path, "--model", "mlp", "--epochs", "2")
    with Served(tmp_path, "--token") as served:
        open_page(browser, served)
        browser.run(DRAW)
        until(lambda: browser.run("return document.querySelectorAll('.shares tr').length") == 10)
        assert browser.run("return document.querySelector('.best').textContent") in list("0123456789")
        small = browser.run("return document.querySelector('.small').toDataURL()")
        assert len(base64.b64decode(small.partition(",")[2])) > 60
        browser.ask("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": PHONE})
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        assert complaints(browser) == []
        assert served.end() == (0, "", "")
        browser.run(DRAW)
        until(lambda: "does not answer" in answer(browser))
        complaints(browser)  # that the connection is refused


def test_a_row_is_filled_in(browser, tmp_path):
    rng = np.random.default_rng(3)
    rows = [f"{a:.2f},{'xyz'[k % 3]},{k % 2}" for k, a in enumerate(rng.normal(5, 1, 40))]
    (tmp_path / "table.csv").write_text("\n".join(["<b>a</b>,letter,c", *rows, ""]))
    train(tmp_path, "--data", "csv:table.csv,target=c,categories=letter", "--model", "mlp:widths=4", "--epochs", "1")
    with Served(tmp_path) as served:
        open_page(browser, served)
        assert browser.run("return document.querySelector('.field span').textContent") == "<b>a</b>"
        assert browser.run("return [...document.querySelectorAll('option')].map(one => one.value)") == ["", *"xyz"]
        browser.run("document.querySelector('select').value = 'y'; document.querySelector('form').requestSubmit()")
        assert answer(browser).startswith("Answer")
        until(lambda: browser.run("return document.querySelectorAll('.shares tr').length") == 2)
        assert complaints(browser) == []


def test_a_text_is_written(browser, tmp_path):
    (tmp_path / "novel.txt").write_text("one fish, two fish, red fish. " * 100)
    train(tmp_path, "--data", "text:novel.txt,window=16", "--model", "gpt:depth=1,width=16,heads=2", "--steps", "5")
    with Served(tmp_path) as served:
        open_page(browser, served)
        write = "document.querySelector('textarea').value = 'one <i>'; document.querySelector('form').requestSubmit()"
        browser.run(write)
        until(lambda: "tokens" in browser.run("return document.querySelector('#answer .soft').textContent"))
        assert browser.run("return document.querySelector('.text').textContent").startswith("one <i>")
        assert complaints(browser) == []
