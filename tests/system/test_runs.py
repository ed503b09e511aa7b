"""The commands from end to end on real data."""

import csv
import json

import numpy as np
import pytest


def report(tmp_path, name="run"):
    return json.loads((tmp_path / name / "report.json").read_text())


def epoch_losses(tmp_path, name):
    lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    return [(line["train"]["loss"], line["test"]["loss"]) for line in lines if line["kind"] == "epoch"]


def test_the_default_run(mpitrain, tmp_path):
    code, out, err = mpitrain(8)
    assert code == 0, err
    found = report(tmp_path, "runs/digits-convnet-1")
    assert found["test"]["accuracy"] >= 0.97
    assert found["ranks"] == 8
    assert {"samples_per_second", "all_reduce", "time_share", "bytes_per_step"} <= set(found)
    assert len(found["time_share_of_rank"]) == 8
    directory = tmp_path / "runs" / "digits-convnet-1"
    assert (directory / "curves.svg").read_text("utf-8").startswith("<svg ")
    assert sorted(p.name for p in directory.iterdir()) == sorted(
        [
            *("best.safetensors", "config.toml", "curves.svg", "events.jsonl", "examples.json"),
            *("metrics.jsonl", "model.safetensors", "report.json"),
        ]
    )
    assert out.count("epoch  1/10") == 1
    # the same again from the config that it wrote, on another number of ranks: the next free directory
    again = mpitrain(1, "train", "--config", "runs/digits-convnet-1/config.toml", "--epochs", 2)
    assert again[0] == 0, again[2]
    assert report(tmp_path, "runs/digits-convnet-2")["epochs"] == 2


# A ReLU, or a maximum of nearly equal numbers, can turn over by a rounding error; from then on losses differ in the
# fourth digit. Networks of tanh keep rounding errors small.
SMOOTH = ("--model", "mlp", "--activation", "tanh")


@pytest.mark.parametrize(
    ("all_reduce", "model", "atol", "several"),
    [
        ("ring", SMOOTH, 1e-5, (2, 3, 5, 8)),
        ("tree", SMOOTH, 1e-5, (3, 8)),
        ("flat", SMOOTH, 1e-5, (5,)),
        ("native", SMOOTH, 1e-5, (5,)),
        ("ring", ("--model", "convnet"), 5e-3, (2, 3, 8)),
    ],
)
def test_same_losses_on_any_number_of_ranks(mpitrain, tmp_path, all_reduce, model, atol, several):
    options = ("--epochs", 2, "--crop", 1, "--all-reduce", all_reduce, "--progress", "none", *model)
    for ranks in (1, *several):
        code, out, err = mpitrain(ranks, *options, "--out", f"ranks{ranks}")
        assert code == 0, err
        assert out == ""
    alone = epoch_losses(tmp_path, "ranks1")
    for ranks in several:
        np.testing.assert_allclose(epoch_losses(tmp_path, f"ranks{ranks}"), alone, atol=atol, err_msg=f"{ranks} ranks")


MINE = """
from mpitrain.collectives import Step

def towards_zero_and_back(rank, size):
    chunks = range(size)
    if rank + 1 < size:
        yield Step(recv_from=rank + 1, recv=chunks, reduce=True)
    if rank > 0:
        yield Step(send_to=rank - 1, send=chunks)
        yield Step(recv_from=rank - 1, recv=chunks)
    if rank + 1 < size:
        yield Step(send_to=rank + 1, send=chunks)

def forgets_the_way_back(rank, size):
    yield from list(towards_zero_and_back(rank, size))[:1]
"""


@pytest.mark.parametrize("all_reduce", ["mine.py:towards_zero_and_back", "shared", "two_level:node=2,outer=swing"])
def test_other_all_reduces(mpitrain, tmp_path, all_reduce):
    (tmp_path / "mine.py").write_text(MINE)
    options = ("--epochs", 2, "--crop", 1, "--progress", "none", *SMOOTH)
    assert mpitrain(1, *options, "--out", "alone")[0] == 0
    code, _, err = mpitrain(5, *options, "--all-reduce", all_reduce, "--out", "five")
    assert code == 0, err
    assert report(tmp_path, "five")["all_reduce"] == all_reduce
    np.testing.assert_allclose(epoch_losses(tmp_path, "five"), epoch_losses(tmp_path, "alone"), atol=1e-5)


def test_a_wrong_all_reduce_is_refused(mpitrain, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    code, out, err = mpitrain(3, "--all-reduce", "mine.py:forgets_the_way_back")
    assert (code, out) == (2, "")
    assert err.count("mine.py:forgets_the_way_back is wrong for P = 2: rank 1 ") == 1
    assert "Traceback" not in err


def test_regression_on_a_table(mpitrain, tmp_path):
    from sklearn.datasets import load_diabetes

    table = load_diabetes()
    rows = np.column_stack([table.data, table.target])
    header = ",".join([*table.feature_names, "progression"])
    np.savetxt(tmp_path / "diabetes.csv", rows, delimiter=",", header=header, comments="", fmt="%.8g")
    code, out, err = mpitrain(
        3, "--model", "mlp", "--widths", 10, "--task", "regression", "--data", "csv:diabetes.csv,target=progression",
        "--epochs", 30, "--lr", 0.01, "--out", "run",
    )  # fmt: skip
    assert code == 0, err
    found = report(tmp_path)
    variance = float(np.var(table.target))
    assert found["test"]["mse"] < 0.75 * variance
    assert f"mse {found['test']['mse']:.4g}" in out

    code, out, err = mpitrain(2, "evaluate", "run", "--json")
    assert code == 0, err
    assert json.loads(out)["mse"] == pytest.approx(found["test"]["mse"], rel=1e-6)

    # the target column is not needed, and columns are found by name in any order
    reordered = np.column_stack([table.data[:, ::-1]])
    names = ",".join(table.feature_names[::-1])
    np.savetxt(tmp_path / "new.csv", reordered, delimiter=",", header=names, comments="", fmt="%.8g")
    for ranks, data in ((1, "diabetes.csv"), (3, "new.csv")):
        code, _, err = mpitrain(ranks, "predict", "run", "--data", f"csv:{data}", "--out", f"p{ranks}.csv")
        assert code == 0, err
    one, three = ((tmp_path / f"p{ranks}.csv").read_text() for ranks in (1, 3))
    assert one.splitlines()[0] == "progression"
    a, b = (np.array(text.split()[1:], float) for text in (one, three))
    assert len(a) == len(table.target)
    np.testing.assert_allclose(a, b, rtol=1e-4)
    assert np.mean((a - table.target) ** 2) < 0.75 * variance


TIMES = """a,b,t
-1.2,3,1699999991.00
0.4,1,1700000005.00
0.9,2,1700000011.00
-0.3,5,1700000002.00
1.5,4,1700000019.00
-0.8,2,1699999994.00
0.1,3,1700000004.00
2.0,1,1700000021.00
-1.7,4,1699999987.00
0.6,5,1700000011.00
"""


@pytest.mark.parametrize("target", ["t", "a"])
def test_a_column_of_times(mpitrain, tmp_path, target):
    """Its spread is a 1e-8 part of its offset: it can be learnt, and learnt from."""
    (tmp_path / "times.csv").write_text(TIMES)
    code, out, err = mpitrain(
        2, "--model", "mlp", "--widths", 8, "--task", "regression", "--data", f"csv:times.csv,target={target}",
        "--epochs", 300, "--lr", 0.01, "--out", "run",
    )  # fmt: skip
    assert code == 0, err
    found = report(tmp_path)["test"]
    assert found["r2"] > 0.95
    code, out, err = mpitrain(1, "evaluate", "run", "--json")
    assert code == 0, err
    assert json.loads(out)["r2"] == pytest.approx(found["r2"], rel=1e-6)


def test_a_run_from_before_draws_were_stratified(mpitrain, tmp_path):
    """Its config.toml does not say how test samples were drawn: it is evaluated and resumed with those that it had."""
    rng = np.random.default_rng(7)
    kind = np.repeat([0, 1, 2], (100, 20, 4))
    rows = np.column_stack([kind + rng.standard_normal(len(kind)), kind])
    np.savetxt(tmp_path / "rare.csv", rows, delimiter=",", header="a,kind", comments="", fmt=("%.6f", "%d"))
    options = ("--model", "mlp", "--widths", 4, "--data", "csv:rare.csv,target=kind", "--epochs", 2, "--out", "run")
    code, out, err = mpitrain(2, *options, "--draw-test", "random", "--checkpoint-every", 1)
    assert code == 0, err
    config = tmp_path / "run" / "config.toml"
    text = config.read_text()
    assert text.count('split = "random"\n') == 1
    config.write_text(text.replace('split = "random"\n', ""))
    scores = []
    for line in (text.replace('split = "random"\n', ""), text, text.replace('"random"', '"stratified"')):
        config.write_text(line)
        code, out, err = mpitrain(1, "evaluate", "run", "--json")
        assert code == 0, err
        scores.append(json.loads(out))
    assert scores[0] == scores[1]
    assert scores[0]["loss"] == pytest.approx(report(tmp_path)["test"]["loss"])
    assert scores[2] != scores[1]
    config.write_text(text.replace('split = "random"\n', ""))
    code, out, err = mpitrain(2, "--resume", "run", "--epochs", 3)
    assert code == 0, err
    code, out, err = mpitrain(2, "--resume", "run", "--epochs", 4, "--draw-test", "stratified")
    assert code == 2
    assert "--draw-test is stratified, but" in err


def test_classes_and_images_of_an_archive(mpitrain, tmp_path):
    """Names of 64 bits, arrays named as Keras does, images with channels first."""
    rng = np.random.default_rng(1)
    ids = 2**63 + np.array([0, 1, 2], np.uint64)
    labels = np.arange(60) % 3
    images = rng.integers(0, 50, (60, 3, 6, 6), dtype=np.uint8) + (80 * labels[:, None, None, None]).astype(np.uint8)
    arrays = {"train_images": images[:45], "train_labels": ids[labels[:45]]}
    np.savez(tmp_path / "set.npz", **arrays, test_images=images[45:], test_labels=ids[labels[45:]])
    options = ("--model", "mlp", "--widths", 8, "--data", "npz:set.npz", "--epochs", 40, "--out", "run")
    code, out, err = mpitrain(2, *options)
    assert (code, out) == (2, "")
    assert err.count("x.transpose(0, 2, 3, 1)") == 1
    arrays["train_images"], test_images = (x.transpose(0, 2, 3, 1) for x in (images[:45], images[45:]))
    np.savez(tmp_path / "set.npz", **arrays, test_images=test_images, test_labels=ids[labels[45:]])
    code, out, err = mpitrain(2, *options)
    assert code == 0, err
    assert report(tmp_path)["test"]["accuracy"] == 1
    assert mpitrain(2, "predict", "run", "--data", "npz:set.npz", "--out", "p.csv")[0] == 0
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [int(row["class"]) for row in rows] == ids[labels[45:]].tolist()


def test_evaluate_and_predict_classes(mpitrain, tmp_path):
    assert mpitrain(2, "--epochs", 3, "--out", "run")[0] == 0
    expected = report(tmp_path)
    for ranks, weights in ((1, "last"), (3, "last"), (2, "best")):
        code, out, err = mpitrain(ranks, "evaluate", "run", "--weights", weights, "--json")
        assert code == 0, err
        wanted = expected["test"] if weights == "last" else expected["best"]
        assert json.loads(out)["accuracy"] == pytest.approx(wanted["accuracy"])
    from mpitrain.data.sources import open_dataset

    test = open_dataset("digits").test
    np.savez(tmp_path / "new.npz", x=test.x)
    for name in ("out.csv", "out.npz"):
        code, out, err = mpitrain(3, "predict", "run", "--data", "npz:new.npz", "--out", name)
        assert code == 0, err
        assert "360 predictions" in out
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    right = np.mean([int(row["class"]) == y for row, y in zip(rows, test.y, strict=True)])
    assert right == pytest.approx(expected["test"]["accuracy"])
    arrays = np.load(tmp_path / "out.npz")
    assert [row["class"] for row in rows] == arrays["class"].tolist()
    np.testing.assert_allclose(sum(arrays[f"p({k})"] for k in range(10)), 1, rtol=1e-5)
