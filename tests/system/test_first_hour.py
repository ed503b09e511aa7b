"""The commands of docs/first-hour.md run, in their order, and do what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ENVIRONMENT

PAGE = Path(__file__).parents[2] / "docs" / "first-hour.md"


@pytest.mark.timeout(400)
def test_the_tutorial(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (file,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "mine.py").write_text(file, encoding="utf-8")
    commands = re.findall(r"^    ((?:mpitrain|python -c) .*)$", text, re.M)
    assert len(commands) == 13
    environment = ENVIRONMENT | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in re.findall(r"^\| `([\w.]+)` \|", text, re.M):
        assert (tmp_path / "run" / name).is_file(), name
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 361
    assert (tmp_path / "lab" / "lab.ipynb").is_file()
