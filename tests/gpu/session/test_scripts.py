"""Dry runs of scripts/test gpu and scripts/bench gpu, whole, on the device that stands for a GPU."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.gpu.session.results import Results
from tests.gpu.session.stages import STAGES

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "MPITRAIN_"))}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=570, env=inherited)


def test_the_tests(tmp_path):
    """One test of each stage."""
    done = run("scripts/test", "gpu", "--stand-in", "--cases", "1", "--minutes", "9", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = Results(tmp_path / "results.jsonl").lines()
    for stage in STAGES:
        mine = [line for line in lines if line["stage"] == stage.name]
        outcomes = Counter(line["outcome"] for line in mine if line["what"] == "end")
        if not stage.dry:
            assert [line["what"] for line in mine] == ["left out"]
        else:
            assert outcomes == {"passed": 1}, f"{stage.name}: {done.stdout}"
        assert f"| {stage.name} |" in (tmp_path / "summary.md").read_text()


def test_the_bench(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "kernel-ladder.md").write_text((ROOT / "docs" / "kernel-ladder.md").read_text())
    done = run("scripts/bench", "gpu", "--stand-in", "--repeat", "1", "--minutes", "9", "--docs", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "benchmarks" / "gpu.json").read_text())
    assert {"gpu", "training", "layers", "memory", "steps", "codecs", "squares", "ladder"} <= set(found)
    assert all(found.values())
    page = (tmp_path / "benchmarks" / "gpu.md").read_text()
    heads = "Squares", "Shapes of training", "Layers, as training calls them", "The ladder", "Training steps"
    for head in (*heads, "Codecs of gradients", "Memory-bound layers"):
        assert f"## {head}" in page
