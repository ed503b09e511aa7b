"""Ranks whose settings, commands, files or versions differ: one sentence and exit code 2, instead of a wrong result."""

import re
import shutil

import pytest

from .small_table import TABLE, one_sentence, write_table


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{}, {}, {}, {"--batch-size": 32}], "--batch-size is 64 on ranks 0-2 and 32 on rank 3: all ranks must have"),
        ([{"--lr": 0.5}, {}], "--lr is 0.5 on rank 0 and none on rank 1"),
        ([{"--elastic": ""}, {}], "--elastic is True on rank 0 and False on rank 1"),
        ([{"--out": "a"}, {"--out": "b"}], "--out is a on rank 0 and b on rank 1"),
        ([{}, {"--epochs": 0}], "--epochs is 0, but must be at least 1 (on rank 1)"),
        ([{"--epochs": 0}, {"--epochs": 0}], "--epochs is 0, but must be at least 1"),
        ([{"--lr": "inf"}, {}], "--lr is inf, but must be a finite number (on rank 0)"),
        (
            [{}, {"--config": "none.toml"}],
            "cannot read the config file none.toml: No such file or dir",
        ),
        ([{"--config": "a.toml"}, {"--config": "b.toml"}], "--dropout is 0.1 on rank 0 and 0.2 on rank 1: all ranks"),
    ],
)
def test_settings_that_differ(mpitrain_each, tmp_path, parts, said):
    for name, dropout in (("a", 0.1), ("b", 0.2)):
        (tmp_path / f"{name}.toml").write_text(f"[model]\nname = 'mlp'\ndropout = {dropout}\n")
    lines = [[str(word) for option in part.items() for word in option if word != ""] for part in parts]
    code, out, err = mpitrain_each(*lines)
    assert (code, out) == (2, "")
    sentence = one_sentence(err)
    assert sentence.startswith(said), sentence
    assert ("(on rank" in sentence) == (said.endswith(")") or "cannot read" in said)
    if "toml" in str(parts) and "none" not in str(parts):
        assert "settings are read from a.toml, too" in sentence
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([["train"], ["evaluate", "x"]], "the command is train on rank 0 and evaluate on rank 1"),
        ([["--epochs", "1"], ["--help"]], "the command is train on rank 0 and --help on rank 1"),
        ([["collective", "list"], ["doctor"]], "the command is one for a single rank on rank 0 and doctor on rank 1"),
        (
            [["collective", "bench", "--bytes", "8"], ["collective", "bench"]],
            "--bytes is 8 on rank 0 and none on ra",
        ),
        ([["evaluate", "x", "--weights", "best"], ["evaluate", "x"]], "--weights is best on rank 0 and last on rank 1"),
    ],
)
def test_commands_that_differ(mpitrain_each, parts, said):
    code, _, err = mpitrain_each(*parts)
    assert code == 2
    assert one_sentence(err).startswith(said)


def test_a_mistake_of_one_rank_that_the_parser_finds(mpitrain_each):
    code, out, err = mpitrain_each(["--epochs", 1], ["--epochz", 1])
    assert (code, out) == (2, "")
    said = one_sentence(err)
    assert "--epochz" in said
    assert said.endswith("(on rank 1)")


def test_a_bug_of_one_rank_before_mpi_starts(mpitrain, tmp_path):
    (tmp_path / "buggy.py").write_text(
        "import sys\n"
        "from mpitrain.cli import train\n"
        "from mpitrain.cli.main import main\n"
        "from mpitrain.comm.launch import launched_rank\n"
        "if launched_rank() == 1:\n"
        "    train.parse = lambda argv, speaks: 1 / 0\n"
        "sys.exit(main())\n"
    )
    code, _, err = mpitrain(3, "--epochs", 1, program=("buggy.py",))
    assert code == 1
    assert err.count("ZeroDivisionError: division by zero (on rank 1)") == 1
    code, _, err = mpitrain(2, "--resume", "x" * 5000)
    assert (code, one_sentence(err)) == (2, "x" * 5000 + ": File name too long")


def test_settings_of_one_rank_may_differ(mpitrain_each, tmp_path):
    first = ["--model", "mlp", "--epochs", 1, "--progress", "none", "--out", "run", "--threads", 1, "--prefetch", 0]
    code, _, err = mpitrain_each(first, [*first[:4], *first[6:8], "--device", "cpu"])
    assert code == 0, err
    assert (tmp_path / "run" / "report.json").exists()


def test_versions_that_differ_are_a_warning(mpitrain, tmp_path):
    (tmp_path / "other.py").write_text(
        "import os, sys, numpy, mpitrain\n"
        "from mpitrain.comm.launch import launched_rank\n"
        "if launched_rank() == 1:\n"
        "    mpitrain.__version__, numpy.__version__ = '9.9', '1.0.0'\n"
        "from mpitrain.cli.main import main\n"
        "sys.exit(main())\n"
    )
    options = ("--model", "mlp", "--epochs", 1, "--progress", "none", "--out", "run")
    code, _, err = mpitrain(2, *options, program=("other.py",))
    assert code == 0, err
    assert "mpitrain: mpitrain is 0." in err
    assert " on rank 0 and 9.9 on rank 1: ranks may compute differently, install the same on all nodes" in err
    assert " on rank 0 and 1.0 on rank 1" in err


@pytest.mark.parametrize("ranks", [2, 3])
def test_node_local_copies_that_differ(mpitrain_each, tmp_path, ranks):
    for rank in range(ranks):
        (tmp_path / f"node{rank}").mkdir()
        write_table(tmp_path / f"node{rank}" / "d.csv", swapped=(11,) if rank == ranks - 1 else ())
    lines = [[*TABLE, "--data", f"csv:node{rank}/d.csv,target=y", "--out", "run"] for rank in range(ranks)]
    code, out, err = mpitrain_each(*lines)
    assert (code, out) == (2, "")
    said = one_sentence(err)
    last = ranks - 1  # one label is another; a stratified test split then has other samples, too
    assert re.match(rf"the training (samples|targets) on rank {last} differ from those of the other ranks: all ", said)
    assert "csv:node0/d.csv,target=y and csv:node1/d.csv,target=y" in said
    assert not (tmp_path / "run").exists()
    shutil.copy(tmp_path / "node0" / "d.csv", tmp_path / f"node{ranks - 1}" / "d.csv")
    code, _, err = mpitrain_each(*lines)
    assert code == 0, err


def test_readers_whose_ranks_differ(mpitrain_each, run, tmp_path):
    write_table(tmp_path / "few.csv", rows=7)
    shutil.copytree(run, tmp_path / "stale")
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # the last bits of the last number
    (tmp_path / "stale" / "model.safetensors").write_bytes(weights)
    data = ("--data", "csv:train.csv")
    code, _, err = mpitrain_each(["evaluate", "run", *data], ["evaluate", "stale", *data])
    assert code == 2
    assert one_sentence(err).startswith("the weights on rank 1 differ")
    for command, begin in (("evaluate", "the samples are (60, 2) "), ("predict", "the file is (892 bytes) ")):
        code, _, err = mpitrain_each([command, "run", *data], [command, "run", "--data", "csv:few.csv"])
        assert code == 2
        assert one_sentence(err).startswith(begin)
    assert not (tmp_path / "predictions.csv").exists()
