"""The pytest plugin of main.py: the smallest cases first, each result on the disk, an end when the time is over."""

import dataclasses
import json
import math
import os
import time
from pathlib import Path

import pytest

from tests.gpu.session.results import Results

ASKED = json.loads(os.environ["MPITRAIN_TEST_SESSION"])
RESULTS = Results(Path(ASKED["results"]))
RANK = int(os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", 0)))


def add(**line):
    if RANK == 0:
        RESULTS.add(stage=ASKED["stage"], **line)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what has run, in this stage or, for the stage of the rest, in any."""
    items.sort(key=volume)
    if ASKED["only"]:
        kept = [item for item in items if item.nodeid == ASKED["only"]]
    else:
        ends = [line for line in RESULTS.lines() if line["what"] == "end"]
        here = {line["test"] for line in ends if line["stage"] == ASKED["stage"]}
        elsewhere = {line["test"] for line in ends} - here if ASKED["stage"] == "rest" else set()
        kept = [item for item in items if item.nodeid not in elsewhere][: ASKED["cases"]]
        add(what="collected", tests=len(kept))
        kept = [item for item in kept if item.nodeid not in here]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def volume(item):
    """Return the product of all sizes in the parameters of a test; those whose parameters have none come last."""
    if not hasattr(item, "callspec"):
        return 0
    found = sizes(list(item.callspec.params.values()))
    return math.prod(max(1, abs(size)) for size in found) if found else math.inf


def sizes(value):
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, name) for name in ("m", "n", "k", "batch") if hasattr(value, name)]
    if isinstance(value, (list, tuple)):
        return [size for part in value for size in sizes(part)]
    return []


def pytest_runtest_logstart(nodeid):
    add(what="begin", test=nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    item.session.outcome, begin = None, time.monotonic()
    result = yield
    outcome, why = item.session.outcome or ("failed", "no report")
    add(what="end", test=item.nodeid, outcome=outcome, why=why, seconds=round(time.monotonic() - begin, 3))
    if time.time() > ASKED["deadline"] and nextitem is not None:
        add(what="cut")
        item.session.shouldstop = "the time of this stage is over"
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    known = item.session.outcome
    if known is None or (report.failed and known[0] != "failed") or (known[0] == "passed" and report.skipped):
        why = report.longreprtext if report.failed else report.longrepr[2] if report.skipped else ""
        item.session.outcome = report.outcome, why[-4000:]
    return report


def pytest_collectreport(report):
    if report.failed:
        add(what="error", test=report.nodeid, why=report.longreprtext[-4000:])
