"""The picture of a run: valid SVG whose lines, ticks and words are those of the results."""

import dataclasses
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mpitrain.training.display.axis import epoch_axis, tick_labels, value_axis
from mpitrain.training.display.curves import BOTTOM, HEIGHT, LEFTS, PANEL, TOP, WIDTH, curves_svg
from mpitrain.training.display.lines import MOST_POINTS
from mpitrain.training.results import EpochResult
from mpitrain.training.step_timer import Times

SVG = "{http://www.w3.org/2000/svg}"


def results_of(train, test, metric="accuracy"):
    """Return results with losses ``train`` and ``test``; accuracy is 1 - loss / 4, mse is 100 times the loss."""

    def scores(loss, with_metric=True):
        value = 1 - loss / 4 if metric == "accuracy" else 100 * loss
        return {"loss": loss} | ({metric: value} if with_metric else {})

    return [
        EpochResult(epoch, epoch, 0.1, scores(a, metric == "accuracy"), scores(b), 1.0, 1.0, Times())
        for epoch, (a, b) in enumerate(zip(train, test, strict=True), 1)
    ]


def paths(svg, split):
    """Return the (n, 2) corners of the lines of ``split`` in the panels, left to right, split where they have gaps."""
    root = ElementTree.fromstring(svg)
    found = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("class") == f"line {split}"][1:]  # the legend's first
    return [
        [np.array(part.replace("L", " ").split(), float).reshape(-1, 2) for part in d.split("M")[1:]] for d in found
    ]


def test_lines_are_the_results():
    train, test = [1.9, 0.8, 0.31], [1.6, 1.0, 0.9]
    svg = curves_svg(results_of(train, test), "accuracy", "a run", 3)
    y = value_axis([*train, *test], BOTTOM, TOP)
    for split, losses in (("train", train), ("test", test)):
        (loss,), (accuracy,) = paths(svg, split)
        np.testing.assert_allclose(loss[:, 0], LEFTS[0] + np.array([0, 0.5, 1]) * PANEL, atol=0.06)
        np.testing.assert_allclose(loss[:, 1], [y(value) for value in losses], atol=0.06)
        assert (np.diff(accuracy[:, 1]) < 0).all()
    words = "".join(ElementTree.fromstring(svg).itertext())
    for wanted in (
        "a run",
        "train 0.31",
        "test 0.9",
        "test 77.50%",
        "Best test accuracy 77.50% in epoch 3.",
        "3 epochs.",
    ):
        assert wanted in words, wanted


def test_with_a_validation_split_its_line_takes_the_place_of_the_test():
    results = results_of([1.9, 0.8], [1.6, 1.0])
    validated = [
        dataclasses.replace(r, validation=r.test, test={"loss": 3.0, "accuracy": 0.1}) for r in results
    ]  # fmt: skip
    svg = curves_svg(validated, "accuracy", "a run", 2)
    assert (
        paths(svg, "test")[0][0].tolist() == paths(curves_svg(results, "accuracy", "a run", 2), "test")[0][0].tolist()
    )
    words = "".join(ElementTree.fromstring(svg).itertext())
    for wanted in ("validation 75.00%", "Best validation accuracy 75.00% in epoch 2.", "best validation score"):
        assert wanted in words, wanted
    assert "test score" not in words
    assert "10.00%" not in words


@pytest.mark.parametrize("metric", ["accuracy", "mse"])
@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
def test_all_is_within_the_page(metric, epochs):
    rng = np.random.default_rng(epochs)
    losses = rng.lognormal(size=(2, epochs)) * 10.0 ** rng.integers(-9, 9)
    losses = losses / losses.max() if metric == "accuracy" else losses
    root = ElementTree.fromstring(curves_svg(results_of(*losses.tolist(), metric), metric, "x" * 500, epochs))
    assert root.get("role") == "img"
    for element in root.iter():
        for name, limit in (("x", WIDTH), ("y", HEIGHT), ("cx", WIDTH), ("cy", HEIGHT)):
            assert 0 <= float(element.get(name, 0)) <= limit
        if element.tag == f"{SVG}circle" and "dot" in element.get("class") and float(element.get("cy")) > 70:
            assert TOP - 0.1 <= float(element.get("cy")) <= BOTTOM + 0.1
    for element in root.iter(f"{SVG}text"):
        anchor, x, length = element.get("class", ""), float(element.get("x")), 7.6 * len(element.text)
        if "title" not in anchor:
            assert (x - length > -8) if "right" in anchor else (x + length / (1 + ("middle" in anchor)) < WIDTH + 4)


def test_names_cannot_break_it():
    hostile = 'a<b>&"c" ]]> \x00\x1b[31m \x7f \udcff \ufffe --> &amp;'
    svg = curves_svg(results_of([1.0], [1.0]), "accuracy", hostile, 1)
    svg.encode()
    words = "".join(ElementTree.fromstring(svg).itertext())
    assert r'a<b>&"c" ]]> \x00\x1b[31m \x7f \xff \ufffe --> &amp;' in words


def test_scores_that_are_not_finite_are_gaps():
    test = [1.0, 0.9, math.nan, 0.8, math.inf, 0.6]
    svg = curves_svg(results_of([1.0] * 6, test), "accuracy", "a run")
    (loss, _) = paths(svg, "test")
    assert [len(part) for part in loss] == [2, 1, 1]
    assert "nan" not in svg
    nothing = curves_svg(results_of([math.nan], [math.nan]), "accuracy", "a run")
    assert nothing.count("no finite values") == 2


def test_a_long_run_keeps_its_extremes():
    losses = np.random.default_rng(1).random(20000)
    losses[7777], losses[12345] = 3.0, -1.0
    svg = curves_svg(results_of(losses.tolist(), losses.tolist()), "accuracy", "a run")
    ((loss,), _) = paths(svg, "test")
    assert len(loss) <= MOST_POINTS
    assert (loss[:, 1].min(), loss[:, 1].max()) == pytest.approx((TOP, BOTTOM), abs=0.1)
    assert len(svg) < 60000


@pytest.mark.parametrize("seed", range(200))
def test_axes_hold_their_values(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rng.integers(1, 9)) * 10.0 ** rng.integers(-12, 12) + rng.choice([0, 1, 1e6])
    axis = value_axis(values.tolist(), 300, 100)
    assert 2 <= len(axis.ticks) <= 7, seed
    assert axis.low <= values.min() + 1e-9 * abs(values.min()), seed
    assert axis.high >= values.max() - 1e-9 * abs(values.max()), seed
    assert len(set(tick_labels(axis.ticks))) == len(axis.ticks), seed
    assert all(float(label.replace(",", "")) == pytest.approx(tick, rel=1e-6, abs=1e-9 * max(map(abs, axis.ticks)))
               for label, tick in zip(tick_labels(axis.ticks), axis.ticks)), seed  # fmt: skip


def test_epochs_are_whole_numbers():
    assert epoch_axis(1, 1, 0, 100)(1) == 50
    for last in (2, 3, 8, 9, 50, 99, 12345):
        ticks = epoch_axis(1, last, 0, 100).ticks
        assert ticks[0] >= 1
        assert ticks[-1] <= last
        assert 1 < len(ticks) <= 9
        assert all(tick == int(tick) for tick in ticks)


def test_percentages_end_at_a_hundred():
    axis = value_axis([0.93, 1.0], 300, 100, percent=True)
    assert axis.high == 1.0
    assert tick_labels(axis.ticks, percent=True)[-1] == "100%"
    assert value_axis([1.0, 1.0], 300, 100, percent=True).high == 1.0
