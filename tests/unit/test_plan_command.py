"""The command plan: a page of 80 columns, JSON, and one sentence for wrong input."""

import json

import pytest

from mpitrain.cli.main import main

GPT = ("--model", "gpt:size=gpt2", "--ranks", "64", "--machine", "dgx-h100", "--dtype", "bf16")


def run(capsys, *argv):
    code = main(["plan", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_page(capsys):
    code, out, _ = run(capsys, *GPT)
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "gpt:size=gpt2: 124 M parameters, on 64 ranks of DGX H100, NDR InfiniBand"
    assert "64 samples of 1,024 tokens a step in bf16: 52 TFLOP, and 817 GFLOP a rank" in out
    rows = [line for line in lines if line[:4].strip().isdigit()]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert "compute" in lines[lines.index(rows[0]) + 1]


def test_json(capsys):
    code, out, _ = run(capsys, *GPT, "--json", "--mesh", "tensor=4")
    tree = json.loads(out)
    assert code == 0
    assert all("tensor=4" in row["mesh"] for row in tree["best"])
    best = tree["best"][0]
    assert sum(best["parts"].values()) == pytest.approx(best["seconds"])
    assert best["tokens_per_second"] == pytest.approx(64 * 1024 / best["seconds"])


def test_nothing_fits(capsys):
    code, out, _ = run(capsys, *GPT, "--memory", "100MB")
    assert code == 1
    assert "nothing fits into the 100 MB of a rank; the nearest needs" in " ".join(out.split())


def test_this_machine(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_CALIBRATION", str(tmp_path))
    code, out, _ = run(
        capsys, "--model", "mlp", "--input", "8x8x1", "--outputs", "10", "--ranks", "2", "--batch-size", "64"
    )
    assert code == 0
    assert "on 2 ranks of this machine" in out


FUGAKU = ["--machine", "fugaku"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--machine", "dgxh100"], "there is no machine 'dgxh100' (did you mean 'dgx-h100'?)"),
        (["--ranks", "-1"], "--ranks is -1, but must be at least 1"),
        (["--machine", "workstation", "--ranks", "64"], "workstation, Ryzen 9 7950X has 4 ranks, and --ranks is 64"),
        ([*FUGAKU, "--dtype", "bf16"], "Fugaku, A64FX has no speed of bf16; it has fp32"),
        ([*FUGAKU, "--mesh", "tensor=3"], "--mesh tensor=3: the size of axis tensor must divide the 4 ranks"),
        ([*FUGAKU, "--mesh", "tenor=2"], "a mesh has no axis 'tenor' (did you mean 'tensor'?)"),
        ([*FUGAKU, "--shard", "4"], "--shard 4: the stages of ZeRO are 0, 1, 2 and 3"),
        ([*FUGAKU, "--input", "8x8"], "--input is for samples of numbers: gpt:size=gpt2 takes --tokens"),
        ([*FUGAKU, "--model", "mlp", "--tokens", "9"], "--tokens is for models of text: mlp takes --input"),
        ([*FUGAKU, "--model", "mlp", "--input", "axb"], "--input is a shape, as 224x224x3 or 784, not 'axb'"),
        ([*FUGAKU, "--recompute", "all"], "--recompute is off, blocks or stage, not 'all'"),
        ([*FUGAKU, "--memory", "much"], "--memory is a number of bytes"),
        ([*FUGAKU, "--pipeline", "1f2b"], "1f2b"),
    ],
)
def test_wrong_input_gets_one_sentence(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert message in out + err
