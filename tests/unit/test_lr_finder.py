"""``mpitrain find-lr``: its options, its output, and the rate that it suggests."""

import json

import numpy as np
import pytest

from mpitrain.cli.main import main
from mpitrain.training.lr_finder import RateCurve

FEW = ["--model", "mlp", "--widths", "8", "--steps", "24", "--lowest", "1e-4"]


@pytest.mark.parametrize("seed", range(3))
def test_the_steepest_fall_is_found_in_noise(seed):
    print("seed", seed)
    rng = np.random.default_rng(seed)
    rates = np.geomspace(1e-6, 10, 200)
    place, lowest = 10 ** rng.uniform(-4, -2), rng.uniform(0, 1)
    losses = lowest + 2 / (1 + (rates / place) ** 2) + (rates / (100 * place)) ** 2 + 0.02 * rng.normal(size=200)
    found = RateCurve(rates.tolist(), losses.tolist()).suggestion
    assert found is not None
    assert abs(np.log10(found / place)) < 0.3  # the logistic curve falls most steeply in its middle


def test_none_is_suggested_where_nothing_falls():
    assert RateCurve([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]).suggestion is None
    assert RateCurve([1.0], [1.0]).suggestion is None
    assert RateCurve([], []).suggestion is None


def test_table_and_json(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["find-lr", *FEW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rates"]) == len(found["losses"]) == len(found["smooth"]) <= 24
    assert main(["find-lr", *FEW]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"digits, mlp, sgd: {len(found['rates'])} steps"
    assert lines[-1] == f"the loss falls most steeply at --lr {found['suggestion']:.2g}"
    assert lines[2].split()[:2] == ["0.0001", f"{found['smooth'][0]:.4g}"]
    assert all(len(line) <= 80 for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--lowest", "0"], "--lowest is 0, but must be above 0 and below --highest, 10"),
        (["--lowest", "3", "--highest", "2"], "--lowest is 3, but must be above 0 and below --highest, 2"),
        (["--highest", "inf"], "--highest is inf, but must be a finite number"),
        (["--steps", "1"], "--steps is 1, but must be at least 2"),
        (["--config", "none.toml"], "cannot read the config file none.toml"),
        (["--batch-size", "0"], "--batch-size is 0, but must be at least 1"),
    ],
)
def test_bad_options(capsys, options, text):
    assert main(["find-lr", *options]) == 2
    assert text in capsys.readouterr().err
