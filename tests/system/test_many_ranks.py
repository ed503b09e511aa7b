"""A start with far more ranks than cores: scripts/test all-ranks."""

import json

import pytest

RANKS, SECONDS = 64, 240  # about 25 s on two cores


@pytest.mark.exhaustive
@pytest.mark.timeout(SECONDS + 60)
def test_64_ranks_start_in_bounded_time(mpitrain, tmp_path):
    options = ("--model", "mlp:widths=16", "--steps", 3, "--threads", 1, "--progress", "none", "--out", "run")
    code, _, err = mpitrain(RANKS, *options, timeout=SECONDS)
    assert code == 0, err
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    assert found["ranks"] == RANKS
