import re
from types import SimpleNamespace

import pytest


def test_names_are_no_formulas(tmp_path):
    pytest.importorskip("matplotlib")
    from mpitrain.training.display.bench_plot import plot_bench

    names = ["ring", "cost$\\frac{.py:own", "_mine.py:ring", "a$b$[/red].py:x"]
    rows = [SimpleNamespace(algorithm=name, bytes=2**k, us=1.0 + k, ranks=2) for name in names for k in (4, 8)]
    plot_bench(tmp_path / "bench.svg", rows, {("ring", 16): 2.0})
    comments = re.findall("<!-- (.*?) -->", (tmp_path / "bench.svg").read_text())
    assert [comment.strip().replace("\\$", "$") for comment in comments][-len(names) :] == names
