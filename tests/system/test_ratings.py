"""Recommenders as a user trains them: ratings and clicks, scores, and the best items of each user, by name."""

import csv
import json
import os

import pytest

from tests.ratings import write_ratings

from .small_table import one_sentence

TRAIN = ("train", "--batch-size", "16", "--epochs", "2", "--optimizer", "adam", "--lr", "0.02")


@pytest.fixture
def folder(tmp_path):
    write_ratings(tmp_path / "r.csv")
    return tmp_path


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_ratings(mpitrain, folder):
    code, out, err = mpitrain(2, *TRAIN, "--data", "ratings:r.csv", "--model", "mf:factors=4", "--out", "run")
    assert code == 0, err
    assert "72 training and 18 test samples" in out
    (folder / "new.tsv").write_text("user\titem\nu3\tfilm 4\nnobody\tfilm 4\nu3\tfilm 4\n")
    code, out, err = mpitrain(2, "predict", "run", "--data", "ratings:new.tsv")
    assert code == 0, err
    assert "3 ratings in predictions.csv" in out
    assert "the model does not know 1 user: nobody" in err
    found = rows_of(folder / "predictions.csv")
    assert [(row["user"], row["item"]) for row in found] == [("u3", "film 4"), ("nobody", "film 4"), ("u3", "film 4")]
    assert found[0]["rating"] == found[2]["rating"] != found[1]["rating"]
    code, out, err = mpitrain(1, "evaluate", "run", "--json")
    assert code == 0, err
    scores, report = json.loads(out), json.loads((folder / "run/report.json").read_text())
    assert scores["rmse"] == pytest.approx(report["test"]["rmse"], abs=1e-6)
    code, out, err = mpitrain(1, "evaluate", "run", "--data", "ratings:r.csv", "--json")
    assert code == 0, err
    assert json.loads(out)["samples"] == 90


@pytest.mark.parametrize(("model", "options"), [("two-tower:size=4,widths=", ",history=2"), ("ncf", ",negatives=2")])
def test_the_best_items_of_each_user(mpitrain, folder, model, options):
    source = f"ratings:r.csv{options}"
    code, _, err = mpitrain(
        2, *TRAIN, "--data", source, "--model", model, "--out", "run", "--metrics", "recall:k=3,ndcg:k=3"
    )
    assert code == 0, err
    assert {"recall@3", "ndcg@3"} < json.loads((folder / "run/report.json").read_text())["test"].keys()
    found, scores = [], []
    for ranks in (1, 2):
        code, out, err = mpitrain(ranks, "predict", "run", "--data", "ratings:r.csv", "--top", "4", "--out", "top.csv")
        assert code == 0, err
        rows = rows_of(folder / "top.csv")
        found.append([(row["user"], row["rank"], row["item"]) for row in rows])
        scores.append([float(row["probability"]) for row in rows])
    assert found[0] == found[1]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    had = {(row["user"], row["item"]) for row in rows_of(folder / "r.csv")}
    best = rows_of(folder / "top.csv")
    users = dict.fromkeys(row["user"] for row in rows_of(folder / "r.csv"))
    assert list(dict.fromkeys(row["user"] for row in best)) == list(users)
    for user in users:
        own = [row for row in best if row["user"] == user]
        assert [row["rank"] for row in own] == ["1", "2", "3", "4"]
        assert not had & {(user, row["item"]) for row in own}
        probabilities = [float(row["probability"]) for row in own]
        assert probabilities == sorted(probabilities, reverse=True)
    code, out, err = mpitrain(1, "evaluate", "run", "--json")
    assert code == 0, err
    assert json.loads(out)["recall@3"] == json.loads((folder / "run/report.json").read_text())["test"]["recall@3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "ratings:none.csv"), "there is no file none.csv"),
        (("--data", "ratings:r.csv", "--model", "mlp:dropout=2"), "must lie in [0, 1)"),
        (("--data", "ratings:r.csv", "--model", "convnet"), "convnet takes numbers"),
        (("--data", "ratings:r.csv,negatives=2", "--model", "ncf", "--validation", "0.1"), "split=leave-last-two-out"),
        (("--data", "digits", "--model", "mf"), "takes users and items"),
    ],
)
def test_errors(mpitrain, folder, arguments, message):
    code, _, err = mpitrain(2, "train", *arguments)
    assert code == 2
    assert message in one_sentence(err)


def test_errors_of_predict(mpitrain, folder):
    code, _, err = mpitrain(1, *TRAIN, "--data", "ratings:r.csv,negatives=2", "--model", "mf", "--out", "run")
    assert code == 0, err
    (folder / "empty.csv").write_text("user,item\n")
    for arguments, message in (
        (("--data", "ratings:empty.csv"), "has a header, but no rows"),
        (("--data", "ratings:r.csv", "--top", "0"), "must be 1 or more"),
        (("--data", "ratings:r.csv", "--top", "99"), "--top is 99, but the model knows 15 items"),
        (("--data", "digits", "--top", "5"), "--top is for ratings:FILE"),
    ):
        code, _, err = mpitrain(2, "predict", "run", *arguments, "--out", "top.csv")
        assert code == 2, arguments
        assert message in one_sentence(err)
        assert not os.path.exists(folder / "top.csv")
