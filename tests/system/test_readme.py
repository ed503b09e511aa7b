"""The output block of README.md has the lines of a run, numbers apart: scripts/make_readme.py writes it."""

import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
import make_readme  # noqa: E402


def test_the_block_is_what_a_run_prints(mpitrain):
    code, out, err = mpitrain(8)
    assert code == 0, err
    shown = make_readme.find(make_readme.README.read_text(encoding="utf-8")).splitlines()
    assert [make_readme.shape(line) for line in shown] == [make_readme.shape(line) for line in make_readme.shorten(out)]
