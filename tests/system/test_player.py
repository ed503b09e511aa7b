"""The page in a real browser: what it shows is what the Python side has computed."""

import re
import time

import pytest

from mpitrain.collectives import Step, find, make_algorithm
from mpitrain.collectives.draw import Trace, TraceEvent, draw_page, play
from mpitrain.collectives.draw.names import name_set
from tests.browser import BROWSER, DRIVER, Driver, dump, run_browser

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no chromium here"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    names = (
        "ring",
        "tree",
        "chain",
        "all_gather/bruck",
        "all_to_all/bruck",
        "gather/binomial:root=2",
        "all_gather/pat",
    )
    path.write_text(draw_page([find(name) for name in names], 8, max_ranks=12), encoding="utf-8")
    return path


def table(dom, panel="a"):
    """Return the texts in the state table, row by row."""
    inside = dom.partition(f'id="table-{panel}"')[2].partition("</table>")[0]
    rows = (re.findall(r"<td>(.*?)</td>", row) for row in inside.split("<tr>"))
    return [[cell.replace("&gt;", ">") for cell in row] for row in rows if len(row) > 1 or (row and row[0])]


def words(dom):
    text = re.search(r'<p class="words".*?</p>', dom, re.DOTALL)[0]
    return re.sub(r"<.*?>", "", text)


@pytest.mark.parametrize(
    ("name", "option", "size", "step"),
    [
        ("ring", None, 8, 5),
        ("ring", None, 12, 22),
        ("tree", None, 5, 2),
        ("chain", 3, 6, 7),
        ("all_gather/bruck", None, 7, 2),
        ("all_to_all/bruck", None, 5, 2),
        ("gather/binomial:root=2", None, 6, 2),
        ("all_gather/pat", None, 7, 2),
    ],
)
def test_the_state_after_a_step(tmp_path, page, name, option, size, step):
    algorithm = find(f"{name}:segments={option}" if option else name)
    played = play(algorithm, size)
    asked = f"a={name}&b=&p={size}&step={step}&table=1" + (f"&o={option}" if option else "")
    dom = dump(tmp_path, page, asked)
    pairs = played.collective == "all_to_all"
    assert table(dom) == [[name_set(s, size, pairs) for s in row] for row in played.states()[step]]
    assert f"after round {step} of {played.num_rounds}" in dom
    assert words(dom).startswith(f"Round {step} of {played.num_rounds}. ")


def test_words_and_price(tmp_path, page):
    dom = dump(tmp_path, page, "a=ring&b=&p=4&step=1&n=4000000&alpha=1e-6&beta=1e-9&gamma=1e-9")
    assert "Every rank sends to its right-hand neighbor. For example, rank 0 sends chunk 0" in words(dom)
    assert "6 α + 1.5 n β + 0.75 n γ = 9.01 ms" in dom
    end = dump(tmp_path, page, "a=ring&b=&p=4&step=6")
    assert "Done: every chunk ends on every rank with every contribution exactly once." in words(end)


def test_two_side_by_side_in_time(tmp_path, page):
    dom = dump(tmp_path, page, "a=ring&b=tree&p=4&mode=time&step=3&table=1")
    assert re.findall(r"<h2>(\w+)</h2>", dom) == ["ring", "tree"]
    assert len(table(dom, "b")) == 4


def test_a_recorded_run(tmp_path):
    events = [
        TraceEvent(r, s, s * 1e-3, (s + 1) * 1e-3 - r * 1e-5, (r + 1) % 3, 40) for r in range(3) for s in range(4)
    ]
    page = tmp_path / "page.html"
    page.write_text(draw_page([find("ring")], 3, max_ranks=4, trace=Trace("ring", 3, 120, events)), encoding="utf-8")
    dom = dump(tmp_path, page, "step=12&table=1")
    assert "4 ms <small>" not in dom
    assert "<small>4 ms measured</small>" in dom
    assert table(dom) == [["0-2"] * 3] * 3


def test_a_picture(tmp_path, page):
    picture = tmp_path / "page.png"
    run_browser(tmp_path, f"{page.as_uri()}#p=8&step=4&t=0.5", f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000


def press(page, tmp_path, *keys):
    """Return a copy of the page that presses keys by itself when it is loaded."""
    event = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: KEY, bubbles: true}));"
    script = "".join(event.replace("KEY", repr(key)) for key in keys)
    copy = tmp_path / "pressed.html"
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>")
    copy.write_text(text, encoding="utf-8")
    return copy


def position(dom):
    return re.search(r'id="at-out">(.*?)<', dom)[1]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["End"], "round 6 of 6"),
        (["End", "ArrowLeft", "ArrowLeft"], "round 4 of 6"),
        (["End", "Home"], "round 0 of 6"),
        (["]", "End"], "round 8 of 8"),
        (["[", "m", "End"], "step 4 of 4"),
    ],
)
def test_keys(tmp_path, page, keys, expected):
    dom = dump(tmp_path, press(page, tmp_path, *keys), "a=ring&b=&p=4")
    assert position(dom) == expected


def test_a_wrong_schedule_says_so(tmp_path):
    def self_willed(rank, size):
        yield Step((rank + 1) % size, 0, (rank - 1) % size, 0, True)

    page = tmp_path / "page.html"
    page.write_text(draw_page([make_algorithm(self_willed)], 3, max_ranks=3), encoding="utf-8")
    dom = dump(tmp_path, page, "")
    assert "Wrong: " in dom
    assert "ends without rank" in dom


class Player(Driver):
    """The page in a browser that lives in real time."""

    def press(self, key):
        strokes = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.ask("/actions", {"actions": [{"type": "key", "id": "keys", "actions": strokes}]})

    def position(self):
        return self.run("return document.getElementById('at-out').textContent")

    def wait_for(self, text, seconds=30):
        deadline = time.monotonic() + seconds
        while self.position() != text:
            assert time.monotonic() < deadline, self.position()
            time.sleep(0.1)


@pytest.mark.skipif(DRIVER is None, reason="no chromedriver here")
@pytest.mark.parametrize("switches", [(), ("--force-prefers-reduced-motion",)])
def test_it_plays(tmp_path, page, switches):
    driver = Player(tmp_path / "profile", *switches)
    try:
        driver.ask("/url", {"url": f"{page.as_uri()}#a=ring&b=tree&p=3&speed=8"})
        assert driver.position() == "round 0 of 4"
        driver.press(" ")
        driver.wait_for("round 4 of 4")
        assert "Done: " in driver.run("return document.querySelector('.words').textContent")
        driver.press("\ue011")  # Home
        driver.press("\ue014")  # right
        driver.wait_for("round 1 of 4")
        driver.press("m")
        driver.press("\ue010")  # End
        assert driver.position().startswith("step ")
        driver.press("d")
        assert driver.ask("/se/log", {"type": "browser"}) == []
    finally:
        driver.end()
