"""Drawings: what they are made from is what the simulation does, and they say what is wrong."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mpitrain.collectives import COLLECTIVES, Step, find, names, simulate
from mpitrain.collectives.draw import Costs, draw_ascii, draw_page, draw_svg, play
from mpitrain.collectives.draw.ascii import draw_steps
from mpitrain.collectives.draw.data import algorithm_data
from mpitrain.collectives.draw.names import name_set
from mpitrain.collectives.price import load_calibration, price
from mpitrain.collectives.step import chunk_bounds
from mpitrain.errors import UserError

ALL = [name for collective in COLLECTIVES for name in names(collective)]
SIZES = (2, 3, 5, 8)


def page_data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def chunks_of(text):
    return [text] if isinstance(text, int) else [c for a, b in zip(text[::2], text[1::2]) for c in range(a, b)]


def replay(data, inputs):
    """Run the messages of a page on numbers, each with what its sender held when its step began."""
    buffers = [x.copy() for x in inputs]
    before = [None] * len(inputs)
    entered = [-1] * len(inputs)
    for sender, sent_in, receiver, received_in, reduce, chunks, *others in data["m"]:
        for rank, step in ((sender, sent_in), (receiver, received_in)):
            if step > entered[rank]:
                entered[rank], before[rank] = step, buffers[rank].copy()
        for source, target in zip(chunks_of(chunks), chunks_of(others[0] if others else chunks), strict=True):
            arrived = before[sender][chunk_bounds(inputs[0].size, data["c"], source)]
            place = buffers[receiver][chunk_bounds(inputs[0].size, data["c"], target)]
            place[...] = place + arrived if reduce else arrived
    return buffers


@pytest.mark.parametrize("name", [name for name in ALL if find(name).buffers == 1])
def test_the_data_of_a_page_give_the_bits_of_the_simulation(name):
    algorithm = find(name)
    data = algorithm_data(algorithm, range(2, 9))
    for size in SIZES:
        key = f"{size}/{data['option']['value']}" if data["option"] else f"{size}"
        random = np.random.default_rng(size)
        inputs = [random.standard_normal(16 * size).astype(np.float32) for _ in range(size)]
        for mine, theirs in zip(replay(data["plays"][key], inputs), simulate(algorithm, inputs), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ALL)
def test_a_play_ends_as_it_has_to(name):
    for size in (1, *SIZES, 11):
        played = play(find(name), size)
        assert not played.error
        assert [m.round for m in played.messages] == sorted(m.round for m in played.messages)
        for row, wanted in zip(played.states()[-1], played.finish, strict=True):
            assert all(w is None or w == there for w, there in zip(wanted, row, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_tables_fit_a_terminal(name):
    for size in (1, 2, 8, 11, 24):
        text = draw_ascii(play(find(name), size))
        assert max(map(len, text.split("\n"))) <= 80
        assert text.startswith(f"{name}, {size} rank")


def test_tables_show_contributions_and_messages():
    lines = draw_ascii(play(find("ring"), 8)).split("\n")
    assert lines[13:16] == [
        "round 1         0    1    2    3    4    5    6    7",
        "rank 0          0    0    0    0    0    0    0  +70   0 to 1, +7 from 7",
        "rank 1        +01    1    1    1    1    1    1    1   1 to 2, +0 from 0",
    ]
    assert "rank 7       =0-7   =all from 6" in draw_ascii(play(find("tree"), 8))


def test_names_of_sets():
    assert [name_set(s, 8) for s in (0, 0b1, 0b11, 0b111, 0b11000001, 0b10010)] == [".", "0", "01", "0-2", "6-0", "1,4"]
    assert name_set(0b110000000001, 12) == "10-0"
    assert name_set(0b1000, 2, pairs=True) == "1>1"


@pytest.mark.parametrize("name", ["ring", "tree", "halving_doubling", "all_to_all/bruck", "barrier/dissemination"])
def test_a_diagram_is_svg_with_one_arrow_for_each_message(name):
    played = play(find(name), 6)
    root = ElementTree.fromstring(draw_svg(played))
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text == f"{name} with 6 ranks"
    assert "Round 1: " in root.find(f"{space}desc").text
    arrows = [group.find(f"{space}title").text for group in root.iter(f"{space}g")]
    assert len(arrows) == len(played.messages)
    first = played.messages[0]
    assert arrows[0].startswith(f"round 1: rank {first.sender} sends ")


def test_a_diagram_of_too_many_ranks_is_refused():
    with pytest.raises(UserError, match="a diagram of 65 ranks cannot be read"):
        draw_svg(play(find("tree"), 65))


def doubling_ring(rank, size):
    """Goes around the ring once too often."""
    for k in range(size):
        yield Step((rank + 1) % size, (rank - k) % size, (rank - 1) % size, (rank - k - 1) % size, True)


def test_a_wrong_schedule_is_drawn_up_to_its_mistake():
    played = play(doubling_ring, 3)
    assert "a second time" in played.error
    assert played.num_rounds == 3
    assert f"wrong: {played.error}" in draw_ascii(played)
    assert "Wrong: " in draw_svg(played)
    assert "a second time" in algorithm_data(doubling_ring, range(2, 4))["plays"]["3"]["e"]


def test_a_page_stands_alone():
    page = draw_page([find("ring"), find("pipelined_ring")], 4, max_ranks=6)
    assert not re.search(r"https?://|src=|@import|@[A-Z]+@", page)
    data = page_data(page)
    assert data["sizes"] == [2, 6]
    assert [a["name"] for a in data["algorithms"]] == ["ring", "pipelined_ring"]
    assert set(data["algorithms"][0]["plays"]) == {"2", "3", "4", "5", "6"}
    assert data["algorithms"][1]["option"] == {"name": "segments", "values": [1, 2, 3, 4, 6, 8], "value": 4}


def test_names_cannot_break_out_of_a_page():
    page = draw_page([find("ring")], 2, max_ranks=2)
    hostile = draw_page([find("ring").__class__("</script><b>", "all_reduce", find("ring"), int)], 2, max_ranks=2)
    assert hostile.count("</script>") == page.count("</script>")


def test_a_page_reckons_with_the_table_that_prices_do():
    costs = Costs.of(load_calibration())
    assert page_data(draw_page([find("ring")], 2, max_ranks=2))["costs"] == pytest.approx(vars(costs))
    size, n = 8, costs.num_bytes
    ring = (size - 1) * (2 * (costs.alpha + n / size * costs.beta) + n / size * costs.gamma)
    tree = 3 * (2 * (costs.alpha + n * costs.beta) + n * costs.gamma)
    for name, seconds in (("ring", ring), ("tree", tree)):
        assert price(find(name), size, n).seconds == pytest.approx(seconds, rel=1e-9)


def test_what_is_too_large_is_not_drawn():
    with pytest.raises(UserError, match="ring with 1,000 ranks and 1,000 chunks is too large to be drawn"):
        play(find("ring"), 1000)
    last = ["rank 999", "  chunk 0 to 998", "  chunk 1 to 998", "  ..."]
    assert draw_steps(find("chain"), 1000, most=2).split("\n")[-4:] == last
