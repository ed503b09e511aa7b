"""scripts/bench balance, small: it runs, and its rows hold together."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "scripts" / "benchmarks" / "balance.py"


def test_a_dry_run(tmp_path):
    file = tmp_path / "rows.json"
    command = [sys.executable, str(PROGRAM), "--small", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(file.read_text())
    assert [(row["ranks"], row["slowness"], row["from_step"]) for row in rows] == [(2, "2", 0), (2, "2", 20)]
    for row in rows:  # sleeping takes as long as was asked for, or longer
        assert 0.99 * row["sleep_ms"] <= row["ideal_ms"]
        assert 0.99 * row["sleep_ms"] <= row["auto_ms"]
        assert 1.3 * row["sleep_ms"] <= row["off_ms"]
    assert "auto / ideal" in done.stdout
