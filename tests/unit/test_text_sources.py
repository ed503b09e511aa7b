"""Sources of text: files, directories and patterns; token files of others; damaged ones are one sentence."""

import json

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.sources import absolute_source, find_source, inherit_options, units_of
from mpitrain.data.text import encode, open_tokenizer, pieces, token_files
from mpitrain.errors import UserError

TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\n" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_TOKENS", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tokens_of(split):
    return split.x.stream.read(0, len(split.x.stream))


def whole(source):
    data = open_dataset(source)
    return np.append(tokens_of(data.train), tokens_of(data.test)[1:])  # one token is in both


def test_a_file_of_bytes(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text(TEXT)
    data = open_dataset(f"text:{path},window=32")
    assert (data.name, data.task, data.input_shape) == ("novel.txt", "language-modeling", (32,))
    assert data.num_outputs == data.vocabulary == 257
    assert data.end_of_text == 256
    assert whole(f"text:{path}").tolist() == [*TEXT.encode(), 256]
    predicted = sum(int((split.y[:] >= 0).sum()) for split in (data.train, data.test))
    assert predicted == len(TEXT.encode())
    assert len(tokens_of(data.test)) - 1 == round(0.2 * predicted)
    assert data.tokenizer.decode(tokens_of(data.train)[:20].tolist()) == TEXT.encode()[:20].decode()


def test_directories_patterns_and_test_files(tmp_path):
    folder = tmp_path / "texts" / "more"
    folder.mkdir(parents=True)
    for name, text in (("b.txt", "two"), ("a.txt", "one"), (".hidden", "no"), ("c.md", "")):
        (folder.parent / name).write_text(text)
    (folder / "z.txt").write_text("three")
    assert bytes(min(t, 255) for t in whole(f"text:{folder.parent}")) == b"one\xfftwo\xffthree\xff"
    assert bytes(min(t, 255) for t in whole(f"text:{folder.parent}/*.txt")) == b"one\xfftwo\xff"
    data = open_dataset(f"text:{folder.parent}/a.txt,test={folder}")
    assert tokens_of(data.train).tolist() == [*b"one", 256]
    assert tokens_of(data.test).tolist() == [*b"three", 256]


def test_many_small_files_are_encoded_together(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(encode, "MOST_MAPPED", 3)
    for k in range(5):
        (tmp_path / f"{k}.txt").write_text(f"text {k}")
    source = f"text:{tmp_path}/*.txt"
    expected = [token for k in range(5) for token in [*f"text {k}".encode(), 256]]
    assert whole(source).tolist() == expected
    made = list(cache.iterdir())
    assert len(made) == 1
    before = made[0].stat().st_mtime_ns
    assert whole(source).tolist() == expected
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [before]
    (tmp_path / "3.txt").write_text("changed!")
    assert whole(source).tolist() != expected


@pytest.mark.parametrize("unit", [50, 97, 10_000])
def test_pieces_cover_the_text_and_cut_no_character(tmp_path, monkeypatch, unit):
    monkeypatch.setattr(pieces, "SEARCH", 64)
    for name, text in (("lines.txt", TEXT), ("one.txt", TEXT.replace("\n", "")), ("blank.txt", "\n" * 500)):
        path = tmp_path / name
        path.write_text(text)
        found = list(pieces.pieces_of([path], unit))
        assert b"".join(piece.read() for piece in found) == text.encode()
        assert [piece.ends for piece in found] == [False] * (len(found) - 1) + [True]
        assert len(found) > 1 or unit > len(text.encode())


def test_ranks_share_the_units_of_a_text(tmp_path, monkeypatch, cache):
    """The work of several processes, each of which does some of it, is that of one."""
    monkeypatch.setattr(encode, "MOST_MAPPED", 0)
    monkeypatch.setattr(encode, "units_of", lambda found: pieces.units_of(found, 300))
    path = tmp_path / "novel.txt"
    path.write_text(TEXT)
    (tmp_path / "second.txt").write_text(TEXT[::-1])
    units = units_of(f"text:{tmp_path}/*.txt")
    assert len(units) == 2
    for rank in (1, 0):
        for unit in units[rank::2]:
            unit.run()
    assert whole(f"text:{tmp_path}/*.txt").tolist() == [*TEXT.encode(), 256, *TEXT[::-1].encode(), 256]
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"caf\xe9 au lait", "not UTF-8: byte 3 is 0xe9"),
        (b"a" * 100 + "é".encode()[:1], "not UTF-8: byte 100 is 0xc3"),
    ],
)
def test_damaged_texts(tmp_path, content, message):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_dataset(f"text:{path}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("text:", "say where the text is"),
        ("text:none.txt", "there is no file or directory none.txt"),
        ("text:none*.txt", r"no file matches none\*.txt"),
        ("text:{}/a.txt,windows=3", "has no option 'windows' .did you mean 'window'"),
        ("text:{}/a.txt,window=0", "must be a whole number from 1"),
        ("text:{}/a.txt,window=8,window=9", "window= is given twice"),
        ("text:{}/a.txt,tokenizer=no.json", "there is no tokenizer 'no.json'"),
        ("text:{}/one.txt", "cannot be split"),
        ("tokens:{}", "has no file train.bin"),
        ("tokens:{}/none", "there is no directory"),
        ("tokens:{},dtype=int8", "uint16 or uint32"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path, source, message):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "one.txt").write_text("a")
    with pytest.raises(UserError, match=message):
        open_dataset(source.format(tmp_path))


def test_the_task_is_that_of_the_source(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    with pytest.raises(UserError, match="its task is language-modeling, not classification"):
        open_dataset(f"text:{tmp_path}/a.txt", task="classification")
    with pytest.raises(UserError, match="digits is no text"):
        open_dataset("digits", task="language-modeling")


def llm_c(path, tokens, *, magic=20240520, version=1, count=None, dtype="<u2"):
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(tokens) if count is None else count
    path.write_bytes(header.tobytes() + np.asarray(tokens, dtype).tobytes())


def test_files_of_nanogpt(tmp_path):
    rng = np.random.default_rng(1)
    train, test = rng.integers(0, 90, 500), rng.integers(0, 90, 60)
    train[7] = 95
    train.astype("<u2").tofile(tmp_path / "train.bin")
    test.astype("<u2").tofile(tmp_path / "val.bin")
    data = open_dataset(f"tokens:{tmp_path},window=16")
    np.testing.assert_array_equal(tokens_of(data.train), train)
    np.testing.assert_array_equal(tokens_of(data.test), test)
    assert (data.vocabulary, data.end_of_text, data.tokenizer) == (96, None, None)
    assert "vocabulary is 96, from the largest token" in data.notes[0]
    given = open_dataset(f"tokens:{tmp_path},vocabulary=200,end_of_text=5")
    assert (given.vocabulary, given.end_of_text, given.notes) == (200, 5, ())
    with pytest.raises(UserError, match=r"train.bin, at or after token 0 holds the token 95, .* 0 to 89"):
        open_dataset(f"tokens:{tmp_path},vocabulary=90")
    (tmp_path / "meta.json").write_text(json.dumps({"vocabulary": 257, "end_of_text": 256, "tokenizer": "bytes"}))
    ours = open_dataset(f"tokens:{tmp_path}")
    assert (ours.vocabulary, ours.end_of_text, ours.tokenizer.name) == (257, 256, "bytes")


def test_files_of_llm_c_in_shards(tmp_path):
    rng = np.random.default_rng(2)
    parts = [rng.integers(0, 50257, n) for n in (300, 200)]
    llm_c(tmp_path / "web_train_000002.bin", parts[1])
    llm_c(tmp_path / "web_train_000001.bin", parts[0])
    llm_c(tmp_path / "web_val_000000.bin", parts[0][:50])
    data = open_dataset(f"tokens:{tmp_path}")
    np.testing.assert_array_equal(tokens_of(data.train), np.concatenate(parts))
    assert (data.vocabulary, data.end_of_text, len(tokens_of(data.test))) == (50257, 50256, 50)
    llm_c(tmp_path / "web_val_000000.bin", [3, 128001], magic=20240801, version=7, dtype="<u4")
    for name in ("web_train_000001.bin", "web_train_000002.bin"):
        llm_c(tmp_path / name, [100000, 128000, 5], magic=20240801, version=7, dtype="<u4")
    data = open_dataset(f"tokens:{tmp_path}")
    assert (data.vocabulary, data.end_of_text) == (128256, 128000)
    assert tokens_of(data.train).tolist() == [100000, 128000, 5] * 2


def test_damaged_token_files(tmp_path):
    path = tmp_path / "train.bin"
    for content, message in [(b"", "is empty"), (b"abc", "is cut off: its 3 bytes")]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            open_dataset(f"tokens:{tmp_path}")
    llm_c(path, range(50), count=60)
    with pytest.raises(UserError, match="promises 60 tokens, and there are 50"):
        open_dataset(f"tokens:{tmp_path}")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="promises 60 tokens, and there are 0"):
        open_dataset(f"tokens:{tmp_path}")
    llm_c(path, range(50), version=9)
    with pytest.raises(UserError, match="of version 9, expected 1"):
        open_dataset(f"tokens:{tmp_path}")


def test_the_largest_token_of_long_files_is_kept(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(token_files, "QUICK", 100)
    monkeypatch.setattr(token_files, "SCANNED", 150)
    tokens = np.arange(400) % 50
    tokens[333] = 77
    tokens.astype("<u2").tofile(tmp_path / "train.bin")
    source = f"tokens:{tmp_path}"
    assert len(units_of(source)) == 3
    assert open_dataset(source).vocabulary == 78
    assert sorted(path.read_text() for path in cache.iterdir()) == ["49", "49", "77"]
    with pytest.raises(UserError, match="at or after token 300 holds the token 77"):
        open_dataset(f"{source},vocabulary=60")
    tokens[333] = 1
    tokens[0] = 60
    tokens.astype("<u2").tofile(tmp_path / "train.bin")
    assert open_dataset(source).vocabulary == 61


def test_paths_and_options_of_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    absolute = absolute_source("text:a.txt,tokenizer=t.json,window=9")
    assert absolute == f"text:{tmp_path}/a.txt,tokenizer={tmp_path}/t.json,window=9"
    assert absolute_source("text:a.txt,tokenizer=bytes") == f"text:{tmp_path}/a.txt,tokenizer=bytes"
    assert find_source("text:b.txt", absolute) == absolute
    assert find_source("text:*.txt", "text:/none/*.txt") == "text:*.txt"
    assert inherit_options("text:b.txt", absolute) == f"text:b.txt,tokenizer={tmp_path}/t.json,window=9"
    assert inherit_options("tokens:dir", absolute) == "tokens:dir,window=9"
    assert inherit_options("csv:b.csv", absolute) == "csv:b.csv"


def test_bytes_that_are_no_text_are_replaced():
    tokenizer = open_tokenizer("bytes")
    assert tokenizer.decode([0xC3, 256, 300, -1]) == "\ufffd"
    assert tokenizer.token_bytes.sum() == 256


def test_long_texts_are_checked_once(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(encode, "QUICK", 100)
    path = tmp_path / "novel.txt"
    path.write_text(TEXT)
    assert len(units_of(f"text:{path}")) == 1
    assert not cache.exists()
    open_dataset(f"text:{path}")
    (made,) = cache.iterdir()
    monkeypatch.setattr(pieces.Piece, "read", lambda self: pytest.fail("it was read again"))
    assert len(open_dataset(f"text:{path}").train) > 0
    made.unlink()
    with pytest.raises(pytest.fail.Exception):
        open_dataset(f"text:{path}")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "QUICK", 0)
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MPITRAIN_TOKENS", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="set MPITRAIN_TOKENS to another folder"):
        open_dataset(f"text:{tmp_path}/file")
