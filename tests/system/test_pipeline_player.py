"""The page of pipelines in a real browser: times, causes and memory are those that Python computes."""

import re

import pytest

from mpitrain.pipelines import Task, find, make_pipeline, make_program, simulate
from mpitrain.pipelines.draw import draw_page
from mpitrain.pipelines.idle import CAUSES, shares
from mpitrain.pipelines.price import Costs, predict
from mpitrain.pipelines.trace import Span, Trace, replay
from tests.browser import BROWSER, dump, run_browser

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no chromium here"), pytest.mark.timeout(300)]
PAIRS = (("1f1b", "gpipe"), ("interleaved:chunks=3", "breadth_first"), ("zb_h1", "greedy:memory=0.5"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(draw_page([find(name) for pair in PAIRS for name in pair], 4, 8), encoding="utf-8")
    return path


def table(dom, panel="a"):
    inside = dom.partition(f'id="table-{panel}"')[2].partition("</table>")[0]
    return [re.findall(r"<td>(.*?)</td>", row) for row in inside.split("<tr>")[2:]]


def expected(prediction):
    rows = []
    for rank, own in enumerate(prediction.idle):
        causes = shares(own, prediction.timeline.total)
        stages = " ".join(map(str, prediction.timeline.program.stages_of[rank]))
        idle = [f"{100 * value:.2f}" for value in (sum(causes.values()), *(causes[cause] for cause in CAUSES))]
        rows.append([f"{rank}", stages, *idle, f"{prediction.timeline.live[rank]:.3g}"])
    return rows


def same(found, wanted):
    """Compare rows of a table, whose percentages may differ in the last digit."""
    assert [(row[:2], row[-1]) for row in found] == [(row[:2], row[-1]) for row in wanted]
    for row, other in zip(found, wanted):
        assert [float(cell) for cell in row[2:-1]] == pytest.approx([float(cell) for cell in other[2:-1]], abs=0.011)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    ("size", "m", "costs", "latency", "transfer"),
    [
        (4, 8, ("1", "1", "1"), 0.0, 0.0),
        (3, 7, ("1 2 1", "1 2.5 1", "0.5"), 0.25, 0.5),
        (7, 5, ("1", "1.5", "0.75"), 0.0, 2.0),
    ],
)
def test_the_page_computes_what_python_does(tmp_path, page, pair, size, m, costs, latency, transfer):
    given = "&".join(f"{kind}={times.replace(' ', '+')}" for kind, times in zip("FBW", costs))
    asked = f"a={pair[0]}&b={pair[1]}&p={size}&m={m}&{given}&latency={latency}&transfer={transfer}&table=1"
    dom = dump(tmp_path, page, asked)
    times = [tuple(map(float, values.split())) for values in costs]
    steps = re.findall(r'class="step">([\d.]+)<', dom)
    for name, panel, step in zip(pair, "ab", steps, strict=True):
        prediction = predict(find(name), size, m, Costs(*times, lambda *_: (latency, transfer)))
        same(table(dom, panel), expected(prediction))
        assert float(step) == pytest.approx(prediction.timeline.total, rel=0.006)  # three digits


def test_two_schedules_and_a_moment(tmp_path, page):
    dom = dump(tmp_path, page, "a=1f1b&b=zb_h1&p=2&m=2&step=1&table=1")
    assert re.findall(r"<h2>(\w+)</h2>", dom) == ["1f1b", "zb_h1"]
    assert "At 1: rank 0 F1; rank 1 F0." in dom
    assert len(table(dom, "b")) == 2
    assert "task end 1 of " in dom
    end = dump(tmp_path, page, "a=gpipe&b=&p=2&m=1&step=99")
    assert "rank 0 has finished; rank 1 has finished." in end


def test_a_recorded_run_below_its_prediction(tmp_path):
    program = make_program(find("1f1b"), 3, 4)
    costs = Costs((0.001, 0.002, 0.001), (0.001,), (0.001,), in_seconds=True)
    run = simulate(program, costs.durations(program), lambda *_: (0.0005, 0.0))
    spans = [
        Span(rank, task, 5 + begin, 5 + end)
        for rank, own in enumerate(program.tasks)
        for task, begin, end in zip(own, run.begins[rank], run.ends[rank])
    ]
    recorded = replay(Trace("1f1b", 3, 4, spans))
    path = tmp_path / "page.html"
    text = draw_page([find("1f1b")], 3, 4, costs=recorded.costs, recorded=recorded)
    path.write_text(text, encoding="utf-8")
    dom = dump(tmp_path, path, "table=1")
    found = table(dom)
    same(found[:3], expected(recorded.predict()))
    same([[row[0].removesuffix(" recorded"), *row[1:]] for row in found[3:]], expected(recorded.run))
    assert "predicted / recorded" in dom
    assert re.search(r'class="step">(.*?)<', dom)[1] == "21 ms / 24 ms"


def test_a_deadlock_says_so(tmp_path):
    def crossed(rank, size, m):
        yield from (Task("F", rank, i) for i in (reversed(range(m)) if rank else range(1)))
        yield from (Task("B", rank, i) for i in range(m))
        yield from (Task("F", rank, i) for i in range(1, m) if not rank)

    path = tmp_path / "page.html"
    path.write_text(draw_page([make_pipeline(crossed)], 2, 1, max_ranks=2, max_microbatches=1), encoding="utf-8")
    assert 'class="wrong" role="alert" hidden' in dump(tmp_path, path, "")
    text = draw_page([make_pipeline(crossed)], 2, 2, max_ranks=2, max_microbatches=2)
    path.write_text(text, encoding="utf-8")
    dom = dump(tmp_path, path, "")
    assert "Wrong: rank 0 of 2, task 2" in dom


def test_a_picture(tmp_path, page):
    picture = tmp_path / "page.png"
    run_browser(tmp_path, f"{page.as_uri()}#p=4&m=8&step=20", f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000
