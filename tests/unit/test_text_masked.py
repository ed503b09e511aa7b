"""Hidden tokens: which ones, what the model sees in their place, and models that do not go with them."""

import numpy as np
import pytest

from mpitrain.cli.main import main
from mpitrain.context import PAD
from mpitrain.data import open_dataset
from mpitrain.data.text import TokenStream
from mpitrain.data.text.masked import MaskedWindows, Masking
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError

RNG = np.random.default_rng(11)


def windows(count, length, masking, parts=3):
    tokens = RNG.permutation(count)
    stream = TokenStream(np.array_split(tokens.astype(np.uint16), parts))
    return tokens, *(MaskedWindows(stream, length, kind, masking) for kind in ("inputs", "targets"))


@pytest.mark.parametrize("count", [1, 2, 17, 64, 65])
@pytest.mark.parametrize("length", [1, 8, 40, 100])
def test_each_token_is_seen_or_predicted_once_in_an_epoch(count, length):
    tokens, x, y = windows(count, length, Masking(0.4, 500, 501))
    assert len(x) == len(y) == -(-count // length)
    for epoch in (None, 1, 2, 9):
        inputs, targets = ((v if epoch is None else v.of_epoch(7, epoch))[:] for v in (x, y))
        assert ((inputs == PAD).sum(), (inputs == PAD)[:-1].any()) == (inputs.size - count, False)
        hidden = targets >= 0
        assert (targets[~hidden] == -100).all()
        assert not hidden[inputs == PAD].any()
        whole = np.where(hidden, targets, inputs)
        assert sorted(whole[inputs != PAD].tolist()) == sorted(tokens.tolist())
        order = whole[inputs != PAD].tolist()
        first = tokens.tolist().index(order[0])
        assert order == np.roll(tokens, -first).tolist()


def test_shares_of_what_is_hidden():
    count = 60_000
    tokens, x, y = windows(count, 128, Masking(0.15, 60_000, 60_001))
    inputs, targets = x[:].ravel()[:count], y[:].ravel()[:count]
    hidden = targets >= 0
    masked, kept = inputs == 60_000, inputs == tokens
    assert abs(hidden.mean() - 0.15) < 0.006
    assert abs(masked[hidden].mean() - 0.8) < 0.02
    assert abs(kept[hidden].mean() - 0.1) < 0.02
    assert kept[~hidden].all()
    np.testing.assert_array_equal(targets[hidden], tokens[hidden])
    others = inputs[hidden & ~masked & ~kept]
    assert 0.4 < (others < 30_000).mean() < 0.6


def test_masks_are_those_of_the_place_whatever_the_batch():
    _, x, y = windows(1000, 16, Masking(0.3, 2000, 2001, seed=3, epoch=2))
    order = RNG.permutation(len(x))
    for v in (x, y):
        np.testing.assert_array_equal(
            np.concatenate([v.take(order[i : i + 5]) for i in range(0, len(v), 5)]), v[:][order]
        )
    other = x.of_epoch(3, 3)
    assert ((other.of_epoch(3, 2)[:] == 2000) == (x.of_epoch(3, 2)[:] == 2000)).all()
    assert (other[:] == 2000).sum() != (x.of_epoch(4, 3)[:] == 2000).sum() or (other[:] != x.of_epoch(4, 3)[:]).any()


def test_ends_of_texts_are_not_hidden(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text("abc")
    data = open_dataset(f"text:{tmp_path},window=16,mask=0.9")
    assert (data.masked, data.end_of_text, data.vocabulary, data.num_outputs) == (True, 256, 258, 258)
    for split in (data.train, data.test):
        assert 256 not in split.y[:]
        assert (split.x[:] == 257).any()
    assert sum(int((split.x[:] != PAD).sum()) for split in (data.train, data.test)) == 160  # no token is in both


def test_a_validation_part_has_its_own_tokens(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefgh" * 100)
    data = with_validation(open_dataset(f"text:{tmp_path}/a.txt,window=8,mask=0.2"), 10, 0)
    sizes = [len(split.x.stream) for split in (data.train, data.validation, data.test)]
    assert sizes == [801 - 160 - 80, 80, 160]
    assert data.validation.x.masking.share == 0.2


def test_the_mask_of_a_tokenizer_is_taken(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[PAD]": 0, "[MASK]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "b": 5}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "t.json"))
    (tmp_path / "a.txt").write_text("a b " * 200)
    data = open_dataset(f"text:{tmp_path}/a.txt,tokenizer={tmp_path}/t.json,window=8,mask=0.5")
    assert (data.vocabulary, data.train.x.masking.token) == (6, 1)


@pytest.mark.parametrize("mask", ["0", "1", "-0.1", "x", "nan", ""])
def test_shares_that_are_none(tmp_path, mask):
    (tmp_path / "a.txt").write_text("abc" * 100)
    with pytest.raises(UserError, match=rf"text: mask={mask} must be a number between 0 and 1"):
        open_dataset(f"text:{tmp_path}/a.txt,mask={mask}")


BERT = "bert:size=tiny,depth=1,width=8,heads=2"
GPT = "gpt:depth=1,width=8,heads=2"


def test_a_model_that_sees_what_it_is_to_predict_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPITRAIN_TOKENS", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("the cat sat on the mat\n" * 60)
    options = ["--epochs", "1", "--batch-size", "8", "--out", "run", "--optimizer", "adam:lr=0.01"]
    assert main(["--model", BERT, "--data", "text:a.txt,window=16", *options]) == 2
    assert "the model sees the tokens that it is to predict: let the source hide some" in capsys.readouterr().err
    assert main(["--model", GPT, "--data", "text:a.txt,window=16,mask=0.15", *options]) == 2
    assert "the model sees only those before: leave out mask=" in capsys.readouterr().err

    assert main(["--model", BERT, "--data", "text:a.txt,window=16,mask=0.15", *options]) == 0
    assert "bits_per_byte" not in capsys.readouterr().out
    (tmp_path / "b.txt").write_text("the mat sat on the cat\n" * 20)
    assert main(["evaluate", "run", "--data", "text:b.txt"]) == 0  # inherits the share
    assert "perplexity" in capsys.readouterr().out
    assert main(["predict", "run", "--data", "text:b.txt", "--out", "p.csv"]) == 0
    capsys.readouterr()
    assert main(["data", "check", "text:a.txt,window=16,mask=0.15"]) == 0
    assert "0.15 of them hidden" in capsys.readouterr().out
    assert main(["generate", "run", "--prompt", "the"]) == 2
    assert "sees" in capsys.readouterr().err
