"""Language models as a user trains them: text files, runs on any number of ranks, resuming, evaluation, prediction."""

import csv
import json
import math

import numpy as np
import pytest

from .small_table import one_sentence

WORDS = ("one fish", "two fish", "red fish", "blue fish")
MODEL = ("--model", "gpt:depth=1,width=16,heads=2", "--optimizer", "adam:lr=0.01", "--batch-tokens", "256")


@pytest.fixture
def novel(tmp_path):
    rng = np.random.default_rng(4)
    for name, count in (("novel.txt", 400), ("other.txt", 40)):
        (tmp_path / name).write_text(", ".join(WORDS[k] for k in rng.integers(0, 4, count)))
    return tmp_path


def train(mpitrain, ranks, *arguments, code=0):
    found, out, err = mpitrain(ranks, "train", "--data", "text:novel.txt,window=16", *MODEL, *arguments)
    assert found == code, err
    return out, err


def report(path):
    return json.loads((path / "report.json").read_text())


def test_train_evaluate_and_predict(mpitrain, novel):
    out, _ = train(mpitrain, 2, "--epochs", "2", "--out", "run")
    assert "novel.txt: 206 training and 52 test samples, 16 -> 257 tokens" in out
    assert "perplexity" in out
    assert "bits_per_byte" in out
    whole = report(novel / "run")["test"]
    assert whole["perplexity"] == pytest.approx(math.exp(whole["loss"]))
    assert whole["loss"] < math.log(257) - 1
    train(mpitrain, 3, "--epochs", "2", "--out", "three")
    assert report(novel / "three")["test"]["loss"] == pytest.approx(whole["loss"], abs=1e-4)

    code, out, err = mpitrain(3, "evaluate", "run", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    assert found["bits_per_byte"] == pytest.approx(whole["bits_per_byte"], abs=1e-5)
    code, out, err = mpitrain(2, "evaluate", "run", "--data", "text:other.txt", "--json", "--metrics", "topk:k=3")
    assert code == 0, err
    other = json.loads(out)
    assert (other["split"], other["samples"], "top3" in other) == ("all", 26, True)

    code, _, err = mpitrain(2, "predict", "run", "--data", "text:other.txt")
    assert code == 0, err
    rows = list(csv.DictReader((novel / "predictions.csv").open()))
    assert len(rows) == 26
    tokens = np.array([int(row["tokens"]) for row in rows])
    losses = np.array([float(row["loss"]) for row in rows])
    assert tokens.sum() == len((novel / "other.txt").read_bytes())  # the end of text instead of the first byte
    assert (losses @ tokens) / tokens.sum() == pytest.approx(other["loss"], rel=1e-5)
    assert float(rows[3]["perplexity"]) == pytest.approx(math.exp(losses[3]), rel=1e-6)
    assert rows[1]["text"] == (novel / "other.txt").read_text()[16:32]


def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(mpitrain, novel):
    common = ("--validation", "0.1", "--schedule", "constant")
    train(mpitrain, 2, *common, "--epochs", "2", "--out", "whole")
    train(mpitrain, 2, *common, "--out", "run", "--checkpoint-every", "3", "--steps", "16")
    out, _ = train(mpitrain, 2, *common, "--epochs", "2", "--resume", "run")
    assert "resumed after step 16" in out
    assert report(novel / "whole")["test"] == report(novel / "run")["test"]


def test_changed_text_is_not_resumed(mpitrain, novel):
    train(mpitrain, 1, "--steps", "5", "--checkpoint-every", "2", "--out", "run")
    text = (novel / "novel.txt").read_text()
    (novel / "novel.txt").write_text(text.replace("red", "RED"))
    _, err = train(mpitrain, 1, "--steps", "8", "--resume", "run", code=2)
    assert "the contents of the training samples differ" in err
    (novel / "novel.txt").write_text(text)
    code, _, err = mpitrain(1, "train", "--data", "text:novel.txt,window=8", *MODEL, "--steps", "8", "--resume", "run")
    assert code == 2
    assert "--batch-size is 32, but" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "convnet"), "the model convnet takes numbers, and the samples are tokens"),
        (("--metrics", "f1"), "the metric 'f1' is not for language-modeling"),
        (("--flip",), "crops and flips need images"),
        (("--class-weights", "balanced"), "the task is language-modeling"),
        (("--early-stop", "f1:patience=2"), "there are loss, perplexity, bits_per_byte, accuracy"),
        (("--task", "regression"), "its task is language-modeling, not regression"),
        (("--validation", "5000"), "nothing is left to train on"),
        (("--batch-tokens", "-1"), "--batch-tokens is -1"),
    ],
)
def test_what_does_not_go_together(mpitrain, novel, arguments, message):
    _, err = train(mpitrain, 2, *arguments, code=2)
    assert message in one_sentence(err)


def test_the_outline_and_the_check_of_text(mpitrain, novel):
    out, _ = train(mpitrain, 2, "--dry-run")
    assert "TokenEmbedding" in out
    assert "dry run: nothing was trained or written" in out
    code, out, _ = mpitrain(1, "data", "check", "text:novel.txt")
    assert code == 0
    assert "tokens to predict in" in out
    assert "vocabulary 257 tokens, end of text 256, 1 bytes of text in a token" in out


NET = """
import numpy as np
from mpitrain.layers import Embedding, Flatten, Linear, Sequential


class Shifted(Embedding):
    def forward(self, x, ctx):
        return super().forward(np.pad(x, ((0, 0), (0, 16 - x.shape[1])), constant_values=-1) + 1, ctx)


def net(input_shape, num_outputs, *, vocabulary: int = 0):
    return Sequential(Shifted(vocabulary + 1, 8, std=0.5), Flatten(), Linear(8 * 16, num_outputs))
"""


@pytest.fixture
def reviews(tmp_path):
    rng = np.random.default_rng(5)
    lines = []
    for k in range(240):
        label = ("bad", "good")[k % 2]
        lines.append({"t": f"{label} {' '.join(rng.choice(['a', 'b'], rng.integers(1, 9)))}", "y": label.upper()})
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["t", "class"], *([line["t"], line["y"]] for line in lines[:25])])
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def test_texts_in_classes(mpitrain, reviews):
    source = "jsonl:train.jsonl,text=t,target=y,length=16"
    arguments = ("--data", source, "--model", "net.py:net", "--optimizer", "adam:lr=0.03", "--batch-tokens", "256")
    code, out, err = mpitrain(2, "train", *arguments, "--epochs", "5", "--metrics", "f1", "--out", "run")
    assert code == 0, err
    assert "train: 192 training and 48 test samples, 16 -> 2 classes" in out
    found = report(reviews / "run")["test"]
    assert found["accuracy"] == 1
    assert found["f1"] == 1
    for data in ("csv:new.csv,target=class", "csv:new.csv,text=t,target=class,length=16"):
        code, out, err = mpitrain(3, "evaluate", "run", "--data", data, "--json")
        assert code == 0, err
        assert json.loads(out)["samples"] == 25
        assert json.loads(out)["accuracy"] == 1
    code, out, err = mpitrain(2, "predict", "run", "--data", "csv:new.csv")
    assert code == 0, err
    rows = list(csv.DictReader((reviews / "predictions.csv").open()))
    assert [row["class"] for row in rows] == ["BAD", "GOOD"] * 12 + ["BAD"]
    assert list(rows[0]) == ["class", "probability", "p(BAD)", "p(GOOD)"]
    code, _, err = mpitrain(2, "evaluate", "run", "--data", "csv:new.csv")
    assert code == 2
    assert "new.csv has no column 'y'" in one_sentence(err)
    (reviews / "new.csv").write_text("t,y\ngood a,FINE\n")
    code, _, err = mpitrain(2, "evaluate", "run", "--data", "csv:new.csv")
    assert code == 2
    assert "has a class that the model does not know: 'FINE'" in one_sentence(err)


def test_texts_of_several_lengths_resume_to_the_bit(mpitrain, reviews):
    source = "jsonl:train.jsonl,text=t,target=y,length=16"
    arguments = ("--data", source, "--model", "net.py:net", "--batch-tokens", "256", "--schedule", "constant")
    for out, more in (("whole", ("--epochs", "3")), ("run", ("--steps", "17", "--checkpoint-every", "5"))):
        code, _, err = mpitrain(2, "train", *arguments, *more, "--out", out)
        assert code == 0, err
    code, out, err = mpitrain(2, "train", *arguments, "--epochs", "3", "--resume", "run")
    assert code == 0, err
    assert "resumed after step 17" in out
    assert report(reviews / "whole")["test"] == report(reviews / "run")["test"]
    code, out, err = mpitrain(2, "train", *arguments, "--epochs", "3", "--resume", "run")
    assert code == 0, err
    assert "run is finished" in out + err
    other = (*arguments[:5], "128", *arguments[6:])
    code, _, err = mpitrain(2, "train", *other, "--epochs", "4", "--resume", "run")
    assert code == 2
    assert "--batch-tokens is 128, but" in one_sentence(err)


def test_a_tokenizer_is_trained_and_kept_with_the_weights(mpitrain, novel):
    pytest.importorskip("tokenizers")
    environment = {"MPITRAIN_TOKENS": str(novel / "cache")}
    tokenize = ("tokenize", "text:novel.txt", "--vocabulary", "270", "--out", "t.json")
    code, out, err = mpitrain(2, *tokenize, environment=environment)
    assert code == 0, err
    assert "t.json: bpe, 270 tokens" in out
    code, _, err = mpitrain(2, *tokenize, environment=environment)
    assert (code, "t.json exists already" in one_sentence(err)) == (2, True)
    source = "text:novel.txt,window=16,tokenizer=t.json"
    code, out, err = mpitrain(
        3, "train", "--data", source, *MODEL, "--epochs", "1", "--out", "run", environment=environment
    )
    assert code == 0, err
    assert "16 -> 270 tokens" in out
    assert (novel / "run" / "tokenizer.json").read_bytes() == (novel / "t.json").read_bytes()
    (novel / "t.json").unlink()
    code, out, err = mpitrain(2, "evaluate", "run", "--json", environment=environment)
    assert code == 0, err
    found, whole = json.loads(out), report(novel / "run")["test"]
    assert found["bits_per_byte"] == pytest.approx(whole["bits_per_byte"], abs=1e-5)
    assert found["bits_per_byte"] < found["loss"] / math.log(2)  # a token has more than one byte
    code, out, err = mpitrain(2, "evaluate", "run", "--data", "text:other.txt", environment=environment)
    assert code == 0, err
    code, _, err = mpitrain(1, "evaluate", "run", "--data", "text:other.txt,tokenizer=bytes", environment=environment)
    assert (code, "is encoded by another tokenizer" in one_sentence(err)) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits",), "a tokenizer learns from text:FILE"),
        (("text:novel.txt", "--vocabulary", "9"), "--vocabulary is 9, but must be at least 258 for bpe"),
        (("text:novel.txt", "--lowercase"), "--lowercase is for --kind wordpiece"),
        (("text:novel.txt", "--most-mb", "0"), "--most-mb is 0"),
        (("text:none.txt",), "there is no file or directory none.txt"),
    ],
)
def test_tokenizers_that_cannot_be_trained(mpitrain, novel, arguments, message):
    pytest.importorskip("tokenizers")
    code, _, err = mpitrain(2, "tokenize", *arguments)
    assert (code, message in one_sentence(err)) == (2, True), err
    assert not (novel / "tokenizer.json").exists()
