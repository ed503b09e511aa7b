"""The last command of the lab on pipelines trains with the solution, and with another schedule to the same losses."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ENVIRONMENT

COURSE = Path(__file__).parents[2] / "docs" / "course" / "pipelines"


def losses(command, folder, pipeline):
    """Run the command with ``pipeline`` in the place of the student's; return the training losses of its epochs."""
    words = shlex.split(command.replace("\\\n", "").replace("exercise4_own.py:own", pipeline))
    words[words.index("python")] = sys.executable
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [float(loss) for loss in re.findall(r"^epoch +\d+/3  train loss ([\d.]+)", done.stdout, re.M)]


@pytest.mark.timeout(300)
def test_the_training_at_the_end_of_the_lab(tmp_path):
    (command,) = re.findall(r"^    (mpirun .*\n.*)$", (COURSE / "README.md").read_text(encoding="utf-8"), re.M)
    (tmp_path / "exercise4_own.py").write_text((COURSE / "solutions.py").read_text(encoding="utf-8"), encoding="utf-8")
    own = losses(command, tmp_path, "exercise4_own.py:own")
    assert len(own) == 3
    assert own[-1] < own[0]
    assert own == pytest.approx(losses(command, tmp_path, "gpipe"), rel=1e-3)  # as printed, to four digits


def test_a_broken_schedule_is_refused_before_the_first_step(tmp_path):
    (command,) = re.findall(r"^    (mpirun .*\n.*)$", (COURSE / "README.md").read_text(encoding="utf-8"), re.M)
    text = (COURSE / "exercise4_own.py").read_text(encoding="utf-8")
    (tmp_path / "exercise4_own.py").write_text(text.replace('Task("W"', 'Task("B"'), encoding="utf-8")
    words = shlex.split(command.replace("\\\n", ""))
    words[words.index("python")] = sys.executable
    done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "B of microbatch 0 on stage 0 comes a second time" in done.stderr
