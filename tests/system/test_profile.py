"""--profile, and the line that names the slowest rank."""

import collections
import json
from pathlib import Path

from mpitrain.cli.main import main
from mpitrain.profiles.events import rank_of

from ..trace_format import problems


def test_a_trace_of_all_ranks(mpitrain, tmp_path, capsys):
    options = ("--epochs", 2, "--out", "run", "--profile", "--all-reduce", "tree", "--bucket-mb", 0.02)
    code, out, err = mpitrain(2, *options)
    assert code == 0, err
    assert "slowest" in out
    events = json.loads((tmp_path / "run" / "trace.json").read_text())
    assert problems(events) == []
    spans = [event for event in events if event["ph"] == "X"]
    names = collections.Counter((rank_of(span["pid"]), span["name"]) for span in spans)
    steps = json.loads((tmp_path / "run" / "report.json").read_text())["steps"]
    for rank in (0, 1):
        assert names[rank, "update"] == names[rank, "0+1 Conv2d+ReLU backward"] == steps
        assert names[rank, "its input"] == steps + 2  # one more at the end of each epoch
        assert len({name for pid, name in names if pid == rank and "(bucket " in name}) > 1
    assert sum(event["cat"] == "step" for event in spans) == 2 * steps
    assert main(["profile", "show", str(tmp_path / "run")]) == 0
    assert f"; {steps} steps of " in capsys.readouterr().out


def test_a_slow_rank_is_named(mpitrain, tmp_path):
    program = (str(Path(__file__).with_name("hanging.py")), "slow", "1", "0")
    code, _, err = mpitrain(3, "--model", "mlp", "--epochs", 2, "--out", "run", program=program)
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["slowest"].startswith("rank 1, whose own work took ")
    assert "(compute)" in report["slowest"]
