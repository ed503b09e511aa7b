"""The lab counts transactions of memory and of banks, and draws them."""

from xml.etree import ElementTree

import pytest

from mpitrain.kernels.lab.drawing import draw_svg
from mpitrain.kernels.lab.picture import draw_banks
from tests.kernels import cpu
from tests.kernels.lab.examples import RUNGS, STARTERS, examine, line_of, planted

pytestmark = [cpu.needs_gxx, pytest.mark.timeout(600)]  # the first one builds the shim


def test_bank_conflicts(tmp_path):
    report = planted(tmp_path, "transpose", ("[TILE + 1]", "[TILE]"))
    assert report.right
    ((goal, rate),) = report.missed
    assert (goal.count, rate) == ("shared transactions", 32)
    line = max(report.counts.lines, key=lambda line: line.ratio)
    assert (line.line, line.array, line.worst, line.worst_least) == (line_of(report, "= tile["), "tile", 32, 1)


def test_ladder_counts():
    """Rung 6 meets in the same banks by half, rung 7 does not: what their headers say."""
    ratios = {}
    for path in RUNGS[-2:]:
        report = examine(path)
        line = max(
            (ln for ln in report.counts.lines if ln.array == "b_tile" and ln.way == "load"), key=lambda ln: ln.ratio
        )
        ratios[path.stem] = line.ratio, line.bytes
    assert ratios == {"gemm_06_vectorized": (2, 16), "gemm_07_warp_tile": (1, 16)}


def test_counts_of_the_naive_product():
    counts = examine(RUNGS[0]).counts
    by_array = {line.array: line for line in counts.lines}
    assert (by_array["a"].worst, by_array["a"].worst_least, by_array["b"].worst) == (32, 4, 1)
    assert counts.rates["global loads"] == 2
    h100 = examine(RUNGS[1]).counts.bounds()[0]
    assert h100.by_units == pytest.approx(
        0.125, rel=0.01
    )  # two loads of a turn each, for a quarter of a clock of products


def test_pictures(tmp_path):
    """Each picture is one well-formed file, with the sentences of the terminal."""
    conflicts = planted(tmp_path, "transpose", ("[TILE + 1]", "[TILE]"))
    race = planted(tmp_path, "transpose", ("  __syncthreads();\n", ""))
    for report, words in (
        (conflicts, ["bank conflicts in line", "load units and banks: 57%"]),
        (race, ["a race for tile", "Put __syncthreads() between", "wrong results in"]),
        (planted(tmp_path, "add", ("i < n", "true")), ["out of bounds: a["]),
        (examine(STARTERS[2]), ["uncoalesced access in line 11", "8 words is a sector"]),
    ):
        root = ElementTree.fromstring(draw_svg(report))
        text = " ".join("".join(element.itertext()) for element in root)
        assert all(word in text for word in words), text
    assert draw_banks(max(conflicts.counts.lines, key=lambda line: line.ratio)) == [
        *(f"{top:2} #" for top in range(32, 0, -4)),
        "   01234567890123456789012345678901",
    ]
