"""A run with compressed gradients, continued on other numbers of ranks."""

import json


def test_errors_go_on_to_other_ranks(mpitrain, tmp_path):
    options = ("--model", "mlp", "--compress", "topk:fraction=0.05", "--progress", "lines", "--checkpoint-every", 40)
    code, out, err = mpitrain(3, *options, "--epochs", 4, "--out", "run")
    assert code == 0, err
    assert "gradients: all_gather/bruck of topk:fraction=0.05, 10% of " in out
    code, out, err = mpitrain(1, *options, "--epochs", 8, "--resume", "run")
    assert code == 0, err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["ranks"] == 1
    assert report["test"]["accuracy"] > 0.9
    code, out, err = mpitrain(2, *options, "--epochs", 8, "--all-reduce", "ring", "--out", "other")
    assert code == 2
    assert err.count("--compress topk:fraction=0.05 does not go with --all-reduce ring: its messages are not sums") == 1
    assert "Traceback" not in err
