"""Tokenizers of files: trained here, read, and used by sources of text."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.text import encode, open_tokenizer
from mpitrain.data.text.train import texts_of, train_tokenizer
from mpitrain.errors import UserError

pytest.importorskip("tokenizers")

RNG = np.random.default_rng(9)
WORDS = ["lower", "lowest", "newer", "newest", "wide", "wider", "naïve", "Ωmega", "don't"]
TEXT = "\n".join(" ".join(RNG.choice(WORDS, 8)) + "." for _ in range(200)) + "\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_TOKENS", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def novel(tmp_path):
    (tmp_path / "novel.txt").write_text(TEXT)
    return tmp_path / "novel.txt"


def train(path, kind, vocabulary, texts=(TEXT,), **options):
    path.write_text(train_tokenizer(lambda: iter(texts), kind, vocabulary, **options))
    return open_tokenizer(str(path))


def test_byte_level_bpe(tmp_path):
    tokenizer = train(tmp_path / "t.json", "bpe", 280)
    assert (tokenizer.vocabulary, tokenizer.end_of_text, tokenizer.closes) == (280, 0, False)
    for text in (TEXT, "unseen: 漢字 \x00 \u200d e\u0301\r\n\t  x ", ""):
        (tokens,) = tokenizer.encode([text.encode()])
        assert tokenizer.decode(tokens.tolist()) == text
        assert tokenizer.token_bytes[tokens].sum() == len(text.encode())
        np.testing.assert_array_equal(tokens, tokenizer.encode([text.encode()], special=True)[0])
    assert tokenizer.token_bytes[0] == 0
    assert len(tokenizer.encode([TEXT.encode()])[0]) < len(TEXT.encode()) / 2


def test_word_piece(tmp_path):
    tokenizer = train(tmp_path / "t.json", "wordpiece", 55, lowercase=True)
    (tokens,) = tokenizer.encode([b"Lower, naive unheardof!"], special=True)
    assert tokenizer.closes
    assert tokenizer.token_bytes is None
    vocabulary = json.loads((tmp_path / "t.json").read_text())["model"]["vocab"]
    assert [tokens[0], tokens[-1]] == [vocabulary["[CLS]"], vocabulary["[SEP]"]]
    assert vocabulary["[UNK]"] in tokens  # neither ! nor u is in the text
    assert tokenizer.decode(tokenizer.encode([b"Lower naive"])[0].tolist()) == "lower naive"
    assert len(vocabulary) == 55


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_the_tokens_depend_on_the_text_alone(tmp_path, kind):
    lines = TEXT.splitlines(keepends=True)
    one = train(tmp_path / "one.json", kind, 320 if kind == "bpe" else 90, lines)
    program = (
        "import sys; from mpitrain.data.text.train import train_tokenizer\n"
        f"lines = open({str(tmp_path / 'text')!r}, newline='').read().splitlines(keepends=True)[::-1]\n"
        f"print(train_tokenizer(lambda: iter(lines), {kind!r}, {one.vocabulary}))"
    )
    (tmp_path / "text").write_text(TEXT)
    for threads in ("1", "3"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env=os.environ | {"RAYON_NUM_THREADS": threads},
            check=True,
        )
        assert ran.stdout.rstrip("\n") == (tmp_path / "one.json").read_text()


@pytest.mark.parametrize(("kind", "message"), [("bpe", None), ("wordpiece", "the text holds no words")])
def test_text_without_words(tmp_path, kind, message):
    if message is None:
        assert train(tmp_path / "t.json", kind, 300, ["", " "]).vocabulary == 257
        return
    with pytest.raises(UserError, match=message):
        train(tmp_path / "t.json", kind, 300, ["", " \n"])
    with pytest.raises(UserError, match="different letters, for which 20 tokens are too few"):
        train(tmp_path / "t.json", kind, 20)


def test_text_is_encoded_once_in_units(tmp_path, novel, monkeypatch, cache):
    tokenizer = train(tmp_path / "t.json", "bpe", 280)
    source = f"text:{novel},tokenizer={tmp_path / 't.json'},window=16"
    data = open_dataset(source)
    assert (data.vocabulary, data.num_outputs, data.end_of_text) == (280, 280, 0)
    train_text, test_text = (split.x.stream for split in (data.train, data.test))
    stream = np.append(train_text.read(0, len(train_text)), test_text.read(1, len(test_text)))
    assert stream[-1] == 0
    assert tokenizer.decode(stream.tolist()) == TEXT
    (made,) = cache.iterdir()
    assert made.stat().st_size == 2 * len(stream)
    monkeypatch.setattr(encode.Encoding, "_encoded", lambda self, pieces: pytest.fail("it was encoded again"))
    open_dataset(source)
    train(tmp_path / "t.json", "bpe", 270)
    with pytest.raises(pytest.fail.Exception):
        open_dataset(source)


def test_damaged_files(tmp_path):
    for content in (b"", b"{}", b"[PAD]\n[UNK]\n", b"\xff"):
        (tmp_path / "t.json").write_bytes(content)
        with pytest.raises(UserError, match="holds no tokenizer that the package tokenizers reads") as raised:
            open_tokenizer(str(tmp_path / "t.json"))
        assert "\n" not in str(raised.value)


def test_truncation_and_padding_of_the_file_are_switched_off(tmp_path):
    train(tmp_path / "t.json", "wordpiece", 90)
    facts = json.loads((tmp_path / "t.json").read_text())
    facts["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    facts["padding"] = {
        "strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    (tmp_path / "t.json").write_text(json.dumps(facts))
    sizes = [len(tokens) for tokens in open_tokenizer(str(tmp_path / "t.json")).encode([b"wide", b"wide " * 20])]
    assert sizes == [1, 20]


def test_texts_to_learn_from(tmp_path, novel):
    (tmp_path / "t.csv").write_text("review,y\none,1\ntwo,2\n")
    (tmp_path / "t.jsonl").write_text('{"review": "one"}\n{"review": "two"}\n')
    assert list(texts_of(f"csv:{tmp_path}/t.csv,text=review", 100)) == ["one", "two"]
    assert list(texts_of(f"jsonl:{tmp_path}/t.jsonl,text=review", 2)) == ["one"]
    assert "".join(texts_of(f"text:{novel}", 1 << 20)) == TEXT
    for source, message in [
        ("digits", "a tokenizer learns from text:FILE"),
        (f"text:{novel},tokenizer=x.json", "leave out tokenizer="),
        ("text:none.txt", "there is no file"),
    ]:
        with pytest.raises(UserError, match=message):
            list(texts_of(source, 100))


def test_classes_of_texts_have_their_special_tokens(tmp_path):
    tokenizer = train(tmp_path / "t.json", "wordpiece", 90)
    rows = [(f"{WORDS[k % 9]} wide newest lower", "ab"[k % 2]) for k in range(20)]
    (tmp_path / "t.csv").write_text("review,y\n" + "".join(f"{x},{y}\n" for x, y in rows))
    data = open_dataset(f"csv:{tmp_path}/t.csv,text=review,target=y,tokenizer={tmp_path}/t.json,length=4")
    first, last = tokenizer.encode([b""], special=True)[0]
    for split in data.splits.values():
        x = split.x[:]
        assert (x[:, 0] == first).all()
        assert (x[:, 3] == last).all()
