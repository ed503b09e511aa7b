"""Drawings of pipelines: the same tasks and times as the simulation, readable, and complete."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from mpitrain.errors import UserError
from mpitrain.pipelines import PIPELINES, Task, find, make_pipeline, make_program
from mpitrain.pipelines.draw import draw_ascii, draw_page, draw_svg, draw_tasks, is_drawable
from mpitrain.pipelines.price import Costs, predict

SVG = "{http://www.w3.org/2000/svg}"
UNEVEN = Costs((1.0, 1.5, 1.0), (1.0, 1.5, 1.0), (1.0, 1.5, 1.0), lambda *_: (0.5, 0.0))


def crossed(rank, size, m):
    """A deadlock: rank 1 takes the microbatches in the opposite order."""
    if rank == 0:
        yield from find("1f1b")(rank, size, m)
    else:
        yield from (Task("F", rank, i) for i in reversed(range(m)))
        yield from (Task("B", rank, i) for i in range(m))


ZB_H1 = """\
zb_h1, 3 ranks, 4 microbatches: step 14, bubble 14.3%, held 3 on each
F0 forward of microbatch 0, B0 dx, W0 dw; blank: waits for another rank

rank 0 F0F1F2    B0W0F3B1W1B2W2B3W3
rank 1   F0F1  B0F2B1W0F3B2W1B3W2W3
rank 2     F0B0F1B1F2B2W0F3B3W1W2W3"""

SLOW = """\
1f1b, 3 ranks, 3 microbatches: step 21, bubble 50.0%, held 3 2 1
F0 forward of microbatch 0, B0 backward; blank: waits for another rank, ! for a
slower stage, ~ for a message

rank 0 F0F1F2         !!~~~~B0--  !!!B1--  ~~B2--
rank 1   ~F0-F1-     B0----F2-B1----  B2----
rank 2      ~~F0B0--F1B1--!!!~~F2B2--         !~~"""

INTERLEAVED = """\
interleaved:chunks=2, 2 ranks, 2 microbatches: step 7.5, bubble 20.0%, held 2
1.5
F0a forward of microbatch 0, B0a backward; a, b: first, second stage of the
rank; blank: waits for another rank

rank 0 F0aF1aF0bF1b      B0b---   B1b---B0a---B1a---
rank 1    F0aF1aF0bB0b---F1bB1b---B0a---B1a---"""


@pytest.mark.parametrize(
    ("name", "size", "m", "costs", "golden"),
    [
        ("zb_h1", 3, 4, None, ZB_H1),
        ("1f1b", 3, 3, UNEVEN, SLOW),
        ("interleaved:chunks=2", 2, 2, None, INTERLEAVED),
    ],
    ids=["zb_h1", "slow", "interleaved"],
)
def test_golden_pictures(name, size, m, costs, golden):
    assert draw_ascii(predict(find(name), size, m, costs)) == golden


@pytest.mark.parametrize("name", [*PIPELINES, "interleaved:chunks=4"])
def test_pictures_fit_a_terminal_and_show_every_task(name):
    for size, m in ((1, 1), (2, 5), (4, 8), (8, 4), (8, 24), (20, 3)):
        prediction = predict(find(name), size, m)
        text = draw_ascii(prediction)
        assert max(map(len, text.split("\n"))) <= 80
        program = prediction.timeline.program
        if size == 20:
            assert "(16 of 20 ranks)" in text
        elif size * m <= 40:
            picture = text.partition("\n\n")[2]
            assert len(re.findall(r"[FBW]\d", picture)) == sum(map(len, program.tasks))


def test_narrow_and_wide():
    prediction = predict(find("1f1b"), 4, 8)
    assert max(map(len, draw_ascii(prediction, width=40).split("\n"))) <= 40
    assert len(draw_ascii(prediction, width=200).split("\n")) == 7


def test_a_deadlock_is_drawn_as_far_as_it_goes():
    prediction = predict(make_pipeline(crossed), 2, 3)
    text = draw_ascii(prediction)
    assert "\nrank 0 F0F1\nrank 1\n" in text
    assert "\nwrong: deadlock: rank 0 of 2, task 2" in text
    assert "Wrong: deadlock: " in draw_svg(prediction)
    page = draw_page([make_pipeline(crossed)], 2, 3, max_ranks=2, max_microbatches=3)
    errors = page_data(page)["pipelines"][0]["errors"]
    assert set(errors) == {"2/3"}  # with two microbatches rank 0 sends both before it waits
    assert errors["2/3"].startswith("deadlock: rank 0 of 2")


def test_too_many_tasks_for_a_picture():
    program = make_program(find("interleaved"), 64, 128)
    assert not is_drawable(program)
    lines = draw_tasks(program, most=3).split("\n")
    assert lines[0].startswith("interleaved, 64 ranks") is False
    assert lines[0].endswith("64 ranks, 128 microbatches: too many for a picture; the first tasks of three ranks")
    assert lines[2:] == ["rank 0  F0a F1a F2a ...", "rank 32  F0a F1a F2a ...", "rank 63  F0a F1a F2a ..."]
    with pytest.raises(UserError, match="a diagram of 65 ranks and 130 tasks cannot be read"):
        draw_svg(predict(find("1f1b"), 65, 1))


@pytest.mark.parametrize("name", list(PIPELINES))
def test_a_diagram_has_a_box_for_each_task_and_each_idle_interval(name):
    prediction = predict(find(name), 3, 5, UNEVEN)
    root = ElementTree.fromstring(draw_svg(prediction))
    titles = [group.find(f"{SVG}title").text for group in root.iter(f"{SVG}g")]
    tasks = sum(map(len, prediction.timeline.program.tasks))
    assert len(titles) == tasks + sum(map(len, prediction.idle))
    assert f"rank 0: forward of microbatch 0 on stage 0, 0 to {'0.5' if name in LOOPED else '1'}" in titles
    for words in ("waits for another rank", "waits for a slower stage", "waits for a message"):
        assert any(words in title for title in titles)
    assert root.find(f"{SVG}title").text == f"{name} on 3 ranks, 5 microbatches"
    assert "Rank 2: idle " in root.find(f"{SVG}desc").text
    both = ElementTree.fromstring(draw_svg(prediction, prediction))
    assert len(list(both.iter(f"{SVG}g"))) == 2 * len(titles)
    words = "".join(both.itertext())
    assert "predicted: step " in words
    assert "recorded: step " in words


LOOPED = ("interleaved", "breadth_first", "greedy")


def page_data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_a_page_stands_alone_and_has_the_tasks():
    page = draw_page([find("1f1b"), find("greedy")], 3, 4, max_ranks=4, max_microbatches=5)
    assert not re.search(r"https?://|src=|@import|@[A-Z]+@", page)
    data = page_data(page)
    assert (data["sizes"], data["counts"], data["compare"]) == ([1, 4], [1, 5], True)
    for one in data["pipelines"]:
        assert set(one["orders"]) == {f"{size}/{m}" for size in range(1, 5) for m in range(1, 6)}
        assert one["errors"] == {}
        for key, orders in one["orders"].items():
            size, m = map(int, key.split("/"))
            program = make_program(find(one["name"]), size, m)
            tasks = [[Task("FBW"[code % 3], code // 3 // m, code // 3 % m) for code in own] for own in orders]
            assert tasks == program.tasks


def test_a_page_has_the_costs():
    costs = Costs((0.001, 0.002), (0.001,), (0.003,), lambda *_: (5e-6, 1e-4), in_seconds=True)
    data = page_data(draw_page([find("gpipe")], 2, 2, max_ranks=2, max_microbatches=2, costs=costs))
    assert data["seconds"]
    assert data["costs"] == {"F": [0.001, 0.002], "B": [0.001], "W": [0.003], "latency": 5e-6, "transfer": 1e-4}


def test_names_cannot_break_out_of_a_page():
    pages = [draw_page([make_pipeline(crossed, name)], 2, 2, max_ranks=2) for name in ("plain", "</script><b>")]
    assert pages[0].count("</script>") == pages[1].count("</script>")
    assert "<title>&lt;/script>&lt;b> - pipeline</title>" in pages[1]
