"""The table of scripts/bench exchange."""

import math
import re
from pathlib import Path

import pytest

from mpitrain.collectives.price import Calibration
from mpitrain.config import Config, Parallel
from mpitrain.config_check import check

HEAD = ["method", "MB a step", "messages", "ms a step", "seconds", "loss", "accuracy", "loss at 4 s", "s to 0.8"]
BENCHMARKS = Path(__file__).parents[2] / "scripts" / "benchmarks"


@pytest.fixture
def exchange(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import exchange

    return exchange


def rows():
    for step, seconds, loss, accuracy in ((10, 1.0, 0.9, 0.5), (20, 1.5, 0.5, 0.8), (30, 1.5, 0.4, 0.9)):
        yield {"kind": "step", "step": step, "loss": 1.0}
        yield {"kind": "epoch", "step": step, "seconds": seconds, "test": {"loss": loss, "accuracy": accuracy}}


def test_evaluations(exchange):
    found = exchange.evaluations(rows())
    assert found == [(10, 1.0, 0.9, 0.5), (20, 2.5, 0.5, 0.8), (30, 4.0, 0.4, 0.9)]
    assert (exchange.time_to(0.8, found), exchange.time_to(0.95, found)) == (2.5, math.inf)
    assert (exchange.loss_at(3.9, found), exchange.loss_at(4.0, found)) == (0.5, 0.4)
    assert math.isnan(exchange.loss_at(0.5, found))


def test_a_row_is_the_median_of_runs(exchange):
    def run(factor):
        found = [one._replace(seconds=factor * one.seconds) for one in exchange.evaluations(rows())]
        return exchange.Run({"bytes_per_step": 2_500_000 * factor, "messages_per_step": 2}, found)

    lines = exchange.table({"plain": [run(1), run(3), run(2)], "int8": [run(1)]}, 0.8)
    assert re.split(r"  +", lines[0]) == HEAD
    assert lines[1].split() == ["plain", "5.000", "2.00", "266.7", "8.0", "0.4000", "0.9000", "0.9000", "5.0"]
    assert lines[2].split() == ["int8", "2.500", "2.00", "133.3", "4.0", "0.4000", "0.9000", "0.4000", "2.5"]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"all_reduce": "ring", "bytes_per_step": 3e6}, 6 * (1e-3 + 5e-3)),  # 4 ranks: 3 rounds, twice
        ({"all_reduce": "all_to_all/pairwise and all_gather/ring of int8", "bytes_per_step": 6e6}, 6 * (1e-3 + 1e-2)),
        ({"all_reduce": "ring of powersgd:rank=4", "bytes_per_step": 6e6}, 12 * (1e-3 + 5e5 * 1e-8)),
        ({"all_reduce": "ring", "bytes_per_step": 1e6, "sync": {"method": "local:steps=3"}}, 2 * (1e-3 + 5e-3)),
        ({"all_reduce": "ring", "bytes_per_step": 1e6, "sync": {"method": "gossip"}}, math.nan),
    ],
)
def test_prices_of_a_step(exchange, report, expected):
    """Messages of a rank: 1 ms each, and 10 ms a megabyte."""
    run = exchange.Run({"ranks": 4, **report}, [])
    found = exchange.predicted_seconds(run, Calibration.line(1e-3, 1e-8, 0.0))
    assert found == pytest.approx(expected, nan_ok=True, rel=1e-6)


def test_the_methods_are_options_of_train(exchange):
    for options in exchange.METHODS.values():
        for option, value in zip(options[:2:2], options[1:2], strict=True):  # what follows is not of the exchange
            check(Config(parallel=Parallel(**{option.removeprefix("--"): value})))
