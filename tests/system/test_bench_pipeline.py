"""scripts/bench pipeline, small: every part runs, and its rows hold together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "scripts" / "benchmarks" / "pipeline.py"


def test_a_dry_run(tmp_path):
    file = tmp_path / "rows.json"
    command = [sys.executable, str(PROGRAM), "--small", "--no-peer", "--repeat", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert [(row["ranks"], row["tasks"]) for row in found["overhead"]["rows"] if row["schedule"] == "1f1b"] == [
        (1, 128),
        (2, 32),
    ]
    assert all(0 < row["us_without_waiting"] <= row["us"] for row in found["overhead"]["rows"])
    bubbles = {row["schedule"]: row["asked_bubble"] for row in found["sleep"]["rows"]}
    assert bubbles["gpipe"] == pytest.approx(3 / 11, abs=1e-4)
    assert bubbles["zb_h1"] == pytest.approx(3 / 27, abs=1e-4)
    for row in found["sleep"]["rows"]:  # sleeping takes as long as was asked for, or longer
        assert row["step"] >= 0.999 * row["asked_step"]
        assert row["predicted_step"] >= 0.999 * row["asked_step"]
        assert row["dependency"] + row["imbalance"] + row["message"] == pytest.approx(row["bubble"], abs=0.1)
    for network in ("resnet8", "transformer"):
        assert [row["what"] for row in found[network]["steps"]] == ["1f1b", "gpipe", "data=2"]
        for row in found[network]["messages"]:
            shares = [row[name] for name in ("waiting", "sending", "receiving", "polling", "copying")]
            assert all(0 < share < 1 for share in shares), row
            assert sum(shares) < 1, row
    for words in (
        "Tasks without work",
        "Work that sleeps",
        "Steps on 2 ranks",
        "Percent of the passes",
        "stages: units",
    ):
        assert words in done.stdout
