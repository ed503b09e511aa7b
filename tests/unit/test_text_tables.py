"""Texts with classes in csv and jsonl files."""

import csv
import json

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.sources import units_of
from mpitrain.data.text import pieces, table
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError

RNG = np.random.default_rng(6)
TEXTS = [" ".join(RNG.choice(["red", "blue", 'a "green", one', "naïve\nline"], n)) for n in RNG.integers(1, 30, 60)]
LABELS = [("spam", "ham", "other")[k % 3] for k in range(60)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_TOKENS", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path, texts=TEXTS, labels=LABELS):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("id", "label", "review"), *zip(range(len(texts)), labels, texts)])
    else:
        path.write_text("".join(json.dumps({"label": y, "review": x, "n": [1]}) + "\n" for x, y in zip(texts, labels)))
    return f"{path.suffix[1:]}:{path},text=review,target=label"


def rows(data, split):
    found = [[token for token in row if token >= 0] for row in split.x[:].tolist()]
    return sorted((data.tokenizer.decode(row), data.class_names[y]) for row, y in zip(found, split.y.tolist()))


@pytest.mark.parametrize("name", ["mail.csv", "mail.jsonl"])
def test_texts_and_classes(tmp_path, name):
    data = open_dataset(write(tmp_path / name) + ",length=500")
    assert (data.name, data.task, data.class_names) == ("mail", "classification", ("ham", "other", "spam"))
    assert (data.input_shape, data.num_outputs, data.vocabulary, data.target_name) == ((500,), 3, 257, "label")
    assert (len(data.train), len(data.test)) == (48, 12)
    assert np.bincount(data.test.y).tolist() == [4, 4, 4]
    assert sorted(rows(data, data.train) + rows(data, data.test)) == sorted(zip(TEXTS, LABELS))
    validated = with_validation(data, 0.25, 0)
    assert (len(validated.train), len(validated.validation)) == (36, 12)
    assert sorted(rows(data, validated.train) + rows(data, validated.validation)) == rows(data, data.train)


def test_both_formats_are_the_same_data(tmp_path):
    one, other = (open_dataset(write(tmp_path / name)) for name in ("a.csv", "a.jsonl"))
    for a, b in zip(one.splits.values(), other.splits.values()):
        assert a.x.digest() == b.x.digest()
        np.testing.assert_array_equal(a.y, b.y)


def test_test_files_and_cut_texts(tmp_path):
    source = write(tmp_path / "a.csv")
    write(tmp_path / "b.csv", TEXTS[:6], LABELS[:6])
    data = open_dataset(f"{source},test={tmp_path}/b.csv,length=10")
    assert (len(data.train), len(data.test), data.input_shape) == (60, 6, (10,))
    longer = sum(len(text.encode()) > 10 for text in TEXTS)
    assert f"{longer} of 60 texts are longer than 10 tokens, and cut" in data.notes[0]
    assert data.train.x[0:60].shape == (60, 10)


def test_whole_numbers_are_classes_in_their_order(tmp_path):
    data = open_dataset(write(tmp_path / "a.jsonl", labels=[(10, 9, -1)[k % 3] for k in range(60)]))
    assert data.class_names == ("-1", "9", "10")
    with pytest.raises(UserError, match=r"may be numbers to predict .such as 0.5"):
        open_dataset(write(tmp_path / "a.csv", labels=[0.5, 1.5] * 30))
    assert open_dataset(write(tmp_path / "a.csv", labels=[0.5, 1.5] * 30), task="classification").num_outputs == 2
    with pytest.raises(UserError, match="60 distinct ones for 60 texts"):
        open_dataset(write(tmp_path / "a.csv", labels=range(60)))


def test_long_jsonl_files_are_units_that_ranks_share(tmp_path, monkeypatch, cache):
    """Units end with lines, also where a line is longer than a unit; results are those of one process in memory."""
    monkeypatch.setattr(pieces, "UNIT", 200)
    texts = [*TEXTS, "long " * 200]
    source = write(tmp_path / "a.jsonl", texts, [*LABELS, "ham"])
    monkeypatch.setattr(table, "pieces_of", lambda files, whole_lines: pieces.pieces_of(files, 200, whole_lines=True))
    expected = open_dataset(source)
    assert not cache.exists()
    monkeypatch.setattr(table, "QUICK", 0)
    units = units_of(source)
    assert len(units) > 10
    for unit in units[1::2]:
        unit.run()
    assert len(list(cache.iterdir())) == len(units) // 2
    data = open_dataset(source)
    assert len([path for path in cache.iterdir() if not path.name.startswith(".")]) == len(units)
    assert isinstance(data.train.x.stream.parts[0].base, np.memmap)
    for name, split in data.splits.items():
        assert split.x.digest() == expected.splits[name].x.digest()
        np.testing.assert_array_equal(split.y, expected.splits[name].y)
    monkeypatch.setattr(table.TableUnit, "_encode", lambda self, write: pytest.fail("it was encoded again"))
    open_dataset(source)


BAD = [
    ("a.csv", b"review,label\nabc,x\n,y\n", "line 3 has nothing in 'review'"),
    ("a.csv", b"review,label\nabc,x\nb,\n", "line 3 has nothing in 'label'"),
    ("a.csv", b"review,label\nabc,x,z,w\n", "line 2 has 4 cells, but the header 2"),
    ("a.csv", b"review,label\n", "holds no texts"),
    ("a.csv", b"", "is empty"),
    ("a.csv", b"text,label\na,b\n", "has no column 'review'"),
    ("a.csv", b"review,label\na\xff,b\n", "line 2 is not UTF-8 text .byte 0xff"),
    ("a.csv", b"review,label\na,b\nc,b\n", "all texts are of the class 'b'"),
    ("a.jsonl", b'{"review":"a","label":1}\n\n{"review":"b"}\n', "line 3 has no 'label'"),
    ("a.jsonl", b'{"review":"a","label":1}\nnope\n', "line 2 is no JSON"),
    ("a.jsonl", b'{"review":3,"label":1}\n', "line 1 holds no text in 'review', but '3'"),
    ("a.jsonl", b'{"review":"a","label":1.5}\n', "line 1 holds no class in 'label'"),
    ("a.jsonl", b'{"review":" ","label":1}\n', "line 1 has nothing in 'review'"),
    ("a.jsonl", b"[1]\n", "line 1 is no JSON object"),
    ("a.jsonl", b'{"review":"a\xff","label":1}', "not UTF-8: byte 12 is 0xff"),
    ("a.jsonl", b"\n\n", "holds no texts"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_damaged_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        open_dataset(f"{path.suffix[1:]}:{path},text=review,target=label")
    assert "\n" not in str(raised.value)


def test_lines_of_later_pieces_are_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "pieces_of", lambda files, whole_lines: pieces.pieces_of(files, 200, whole_lines=True))
    path = tmp_path / "a.jsonl"
    source = write(path)
    path.write_text(path.read_text() + '{"review": "x"}\n')
    with pytest.raises(UserError, match="line 61 has no 'label'"):
        open_dataset(source)
    path.write_text(path.read_text().replace('{"review": "x"}', '{"review": "", "label": "ham"}'))
    with pytest.raises(UserError, match="line 61 has nothing in 'review'"):
        open_dataset(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "say which text is classified"),
        (",text=review", "say which class is predicted"),
        (",text=review,target=label,lenght=3", "no option 'lenght' .did you mean 'length'"),
        (",text=review,target=label,length=0", "must be a whole number"),
        (",text=review,text=label", "text= is given twice"),
        (",text=review,target=label,sep=tab", "sep= and encoding= are for csv"),
        (",text=review,target=label,tokenizer=no.json", "there is no tokenizer"),
        (",text=review,target=label,test=none.jsonl", "there is no file or directory none.jsonl"),
    ],
)
def test_options_that_do_not_work(tmp_path, options, message):
    write(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=message):
        open_dataset(f"jsonl:{tmp_path}/a.jsonl{options}")


def test_texts_are_not_for_regression(tmp_path):
    with pytest.raises(UserError, match="texts are for classification, and not for regression"):
        open_dataset(write(tmp_path / "a.csv"), task="regression")
