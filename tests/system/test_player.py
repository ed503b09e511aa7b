"""The page in a real browser: what it shows is what the Python side has computed."""

import re
import shutil
import subprocess

import pytest

from mpitrain.collectives import find
from mpitrain.collectives.draw import Trace, TraceEvent, draw_page, play
from mpitrain.collectives.draw.names import name_set

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1600,900",
    "--virtual-time-budget=3000",
)  # fmt: skip

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no chromium here"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    names = ("ring", "tree", "chain", "all_gather/bruck", "all_to_all/bruck")
    path.write_text(draw_page([find(name) for name in names], 8, max_ranks=12), encoding="utf-8")
    return path


def run_browser(tmp_path, address, *arguments):
    command = [BROWSER, *SWITCHES, f"--user-data-dir={tmp_path / 'profile'}", *arguments, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)


def dump(tmp_path, page, fragment):
    result = run_browser(tmp_path, f"{page.as_uri()}#{fragment}", "--dump-dom")
    assert 'data-ready="1"' in result.stdout, result.stderr
    return result.stdout


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
    assert "Every rank sends to its right-hand neighbour. For example, rank 0 sends chunk 0" in words(dom)
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
