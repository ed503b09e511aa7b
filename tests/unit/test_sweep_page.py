"""The page of a sweep: well-formed, complete, without a script or an address, for trials of every kind."""

import math
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mpitrain.pages.sweep import sweep_page
from mpitrain.sweeps.plan import plan
from mpitrain.sweeps.spec import make_spec
from mpitrain.sweeps.state import SweepState
from mpitrain.training.trials.sweep import Sweep

TEXT = """[sweep]
method = "random"
trials = 6
metric = "accuracy"
[train]
model = "mlp:<b>{depth}"
[parameters]
depth = ["1&2", "</script><script>alert(1)</script>"]
lr = {min = 0.001, max = 1.0, log = true}
widths = [[8], [8, 4]]
momentum = {min = 0.0, max = 0.9, when = {depth = "1&2"}}
"""


class Checker(HTMLParser):
    """Parser that notes tags which are not closed in order."""

    VOID = ("meta", "path", "br", "img")

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.seen = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in self.VOID or (False):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def made(events, text=TEXT):
    spec = make_spec(tomllib.loads(text), "s", text, "s.toml")
    trials = plan(spec)
    state = SweepState(len(trials), larger_is_better=spec.larger_is_better)
    state.apply([{"event": "open", "time": 10.0}, *events])
    return Sweep(spec, trials, state, Path("runs/s"))


def end(trial, status, value=None, reason=""):
    yield {"event": "start", "trial": trial, "rank": 1}
    scores = {"accuracy": value, "loss": 1.0}
    more = {"value": value, "scores": scores, "test": scores, "epoch": 2.0, "step": 9} if value is not None else {}
    yield {
        "event": "end",
        "trial": trial,
        "status": status,
        "seconds": 1.0,
        "time": 11.0 + trial,
        "reason": reason,
        **more,
    }


ALL = [
    *end(0, "finished", 0.5),
    *end(1, "failed", reason="the loss became nan <here>"),
    *end(2, "timed out", reason="it took longer than 5 s (timeout)"),
    *end(3, "paused", 0.75),
    {"event": "start", "trial": 4, "rank": 0},
]


@pytest.mark.parametrize("events", [[], ALL, [*end(0, "finished", "NaN")], [*end(0, "finished", 0.5)]], ids=len)
def test_a_page_is_well_formed(events):
    page = sweep_page(made(events), made=0.0)
    checker = Checker()
    checker.feed(page)
    assert (checker.wrong, checker.open) == ([], [])
    assert "script" not in checker.seen
    assert not re.search(r"(src|href)=", page)
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_what_a_page_says():
    page = sweep_page(made(ALL), made=0.0)
    assert page.count("<section>") == 5
    assert "75.00%" in page
    assert "the loss became nan &lt;here&gt;" in page
    assert page.count("class='line c1 first'") == 1  # the best one
    assert "--resume" in page  # trials are left


def test_lines_reach_the_heights_of_their_values():
    """Heights of a logarithmic axis: the middle of 0.001 and 1 is 0.0316."""
    from mpitrain.pages.coordinates import BOTTOM, TOP, ParameterAxis

    _, lr, widths, _ = (ParameterAxis(one) for one in made([]).spec.parameters)
    assert (lr.y(0.001), lr.y(1.0)) == (BOTTOM, TOP)
    assert math.isclose(lr.y(math.sqrt(0.001)), (BOTTOM + TOP) / 2)
    assert widths.y([8, 4]) == widths.y((8, 4)) < widths.y((8,))
