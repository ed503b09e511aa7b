"""Large tables: the same samples from files of the cache, made once."""

import multiprocessing
import random
import time

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.cache import Cache
from mpitrain.data.mapped import is_mapped
from mpitrain.data.matching.rows import open_rows
from mpitrain.data.matching.signature import Signature
from mpitrain.data.tables import stored
from mpitrain.errors import UserError


def write(path, seed, plain=False, count=400):
    rng = random.Random(seed)
    lines = ["a,b,c,when,y"]
    for _ in range(count):
        b, c = rng.choice(["", f"{rng.random():.3f}"]), rng.choice(["Rome", "Oslo", ""])
        if plain:
            b, c = b or "0", len(c)
        when = 5 if plain else f"2024-0{rng.randrange(1, 10)}-01"
        lines.append(f"{rng.gauss(0, 1):.6f},{b},{c},{when},{rng.choice(['no', 'yes'])}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(stored.CACHE.variable, str(tmp_path / "cache"))
    return tmp_path


def same(found, wanted):
    for part in ("train", "test"):
        np.testing.assert_array_equal(np.asarray(getattr(found, part).x), getattr(wanted, part).x)
        np.testing.assert_array_equal(getattr(found, part).y, getattr(wanted, part).y)
    assert found.feature_names == wanted.feature_names
    assert found.class_names == wanted.class_names
    assert [one and one.digest() for one in found.categories] == [one and one.digest() for one in wanted.categories]
    assert found.notes[:-1] == wanted.notes[: len(found.notes) - 1]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("test", [False, True])
def test_the_same_as_in_memory(folder, monkeypatch, plain, test):
    seed = random.randrange(1 << 30)
    print(f"{seed=}")
    write(folder / "t.csv", seed, plain)
    write(folder / "s.csv", seed + 1, plain)
    source = f"csv:{folder}/t.csv,target=y" + f",test={folder}/s.csv" * test
    wanted = open_dataset(source)
    monkeypatch.setattr(stored, "LARGE", 0)
    for _ in range(2):
        found = open_dataset(source)
        same(found, wanted)
        assert is_mapped(found.train.x) or not test  # fewer rows than lazy.COPIED are copied
        assert "its numbers are kept in" in " ".join(found.notes)
    assert len([one for one in (folder / "cache").iterdir() if one.is_dir()]) == 1
    again = open_dataset(source, encoding=Signature.of(wanted).encoding)
    np.testing.assert_array_equal(np.asarray(again.train.x), wanted.train.x)
    assert len([one for one in (folder / "cache").iterdir() if one.is_dir()]) == 1
    files = sorted(one.name for one in (folder / "cache").rglob("*") if one.is_file() and one.suffix != ".lock")
    assert len(files) == (5 if test else 3)


def test_other_rows_to_train_on_are_another_encoding(folder, monkeypatch):
    write(folder / "t.csv", 1)
    monkeypatch.setattr(stored, "LARGE", 0)
    first, second = (open_dataset(f"csv:{folder}/t.csv,target=y", seed=seed) for seed in (0, 1))
    assert first.encoding.rules[1].fill != second.encoding.rules[1].fill
    write(folder / "t.csv", 2)
    third = open_dataset(f"csv:{folder}/t.csv,target=y")
    assert third.encoding.rules[1].fill != first.encoding.rules[1].fill


def test_scores_of_a_large_file(folder, monkeypatch):
    write(folder / "t.csv", 1)
    write(folder / "n.csv", 2)
    source = f"csv:{folder}/t.csv,target=y"
    signature = Signature.of(open_dataset(source), source=source)
    wanted = open_rows(f"csv:{folder}/n.csv", signature).parts[0]
    monkeypatch.setattr(stored, "LARGE", 0)
    found = open_rows(f"csv:{folder}/n.csv", signature).parts[0]
    assert is_mapped(found.x)
    np.testing.assert_array_equal(found.x, wanted.x)
    np.testing.assert_array_equal(found.y, wanted.y)


def test_mistakes_leave_nothing(folder, monkeypatch):
    (folder / "t.csv").write_text("a,y\n" + "1,2\n" * 50 + "x,3\n")
    monkeypatch.setattr(stored, "LARGE", 0)
    with pytest.raises(UserError, match="holds numbers, but also 'x' on line 52"):
        open_dataset(f"csv:{folder}/t.csv,target=y")
    assert [one for one in (folder / "cache").iterdir() if one.suffix != ".lock"] == []
    monkeypatch.setenv(stored.CACHE.variable, "/proc/nothing")
    with pytest.raises(UserError, match=r"encoded tables cannot be kept in /proc/nothing: .*; set MPITRAIN_TABLES"):
        open_dataset(f"csv:{folder}/t.csv,target=y")


def make_slowly(path):
    def write_it(new):
        with open(path.parent / "made", "a") as file:
            file.write("x")
        time.sleep(0.2)
        (new / "file").write_text("whole")

    Cache("tables", "tables").make(path, write_it)
    assert (path / "file").read_text() == "whole"


def test_one_process_makes_it_and_the_others_wait(tmp_path):
    left = tmp_path / f".thing.{__import__('os').uname().nodename}.1"
    left.mkdir()  # of a process that was killed
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=make_slowly, args=(tmp_path / "thing",)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    assert (tmp_path / "made").read_text() == "x"
    assert not left.exists()
