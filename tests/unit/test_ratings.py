"""Ratings: the reader, splits without a look at the future, histories, and drawn items, against slow definitions."""

import gzip

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.loader import Loader
from mpitrain.data.ratings.options import parse_ratings_source
from mpitrain.data.ratings.reader import read_interactions
from mpitrain.data.ratings.seen import Seen
from mpitrain.data.ratings.split import Part, divide
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError

HEADER = "userId,movieId,rating,timestamp\n"


def write(path, rows, header=HEADER, sep=","):
    path.write_text(header + "".join(sep.join(map(str, row)) + "\n" for row in rows))
    return path


def table(seed=0, users=7, items=9, n=40):
    """Return distinct pairs with ratings and times, some of which are equal, in a random order."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(users * items, n, replace=False)
    return [
        (f"u{p // items}", f"i{p % items}", r, t)
        for p, r, t in zip(pairs, rng.integers(1, 11, n) / 2, rng.integers(0, 12, n))
    ]


def read(source):
    path, options = parse_ratings_source(source.removeprefix("ratings:"))
    return read_interactions(path, options)


def names(found):
    return list(zip(found.users[found.user].tolist(), found.items[found.item].tolist()))


def test_columns_are_found_by_their_names(tmp_path):
    path = write(tmp_path / "r.csv", [("x", 5, 3.5, 10), ("y", 4, 1, 11)], "User_ID,title,Movie ID,score,date\n")
    path.write_text("User_ID,title,Movie ID,score,date\nx,A,5,3.5,2024-01-02\ny,B,4,1,2024-01-01T12:00:00Z\n")
    found = read(f"ratings:{path}")
    assert names(found) == [("x", 5), ("y", 4)]
    assert found.rating.tolist() == [3.5, 1]
    assert found.order.tolist() == [1, 0]
    assert "'User_ID' for user, 'Movie ID' for item, 'score' for rating, 'date' for time" in found.notes[0]
    other = read(f"ratings:{path},item=title,rating=none,time=none")
    assert names(other) == [("x", "A"), ("y", "B")]
    assert other.rating is None
    assert other.time is None


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("form", ["csv", "tsv", "colons", "headless", "gz"])
def test_every_form_gives_the_same_rows(tmp_path, form, seed):
    rows = table(seed, n=50)
    path = tmp_path / ("r.csv.gz" if form == "gz" else "r.csv")
    if form == "gz":
        path.write_bytes(gzip.compress((HEADER + "".join(",".join(map(str, row)) + "\n" for row in rows)).encode()))
    else:
        sep = {"tsv": "\t", "colons": "::"}.get(form, ",")
        write(path, rows, "" if form in ("headless", "colons") else HEADER.replace(",", sep), sep)
    found = read(f"ratings:{path}")
    assert names(found) == [row[:2] for row in rows]
    assert found.rating.tolist() == [row[2] for row in rows]
    assert found.time.tolist() == [row[3] for row in rows]
    assert found.order.argsort().tolist() == sorted(range(50), key=lambda k: rows[k][3])  # sorted is stable
    assert any("no header" in note for note in found.notes) == (form in ("headless", "colons"))


def test_colons_at_the_end_of_a_piece(tmp_path):
    """Reading in pieces of any size cuts a pair of colons anywhere."""
    from mpitrain.data.ratings.stream import MendedStream

    path = tmp_path / "r.dat"
    path.write_bytes(b"1::2::3\n44::5:x::6\n" * 3)
    for size in range(1, 12):
        with MendedStream(path, header=b"a\tb\tc\n", colons=True) as stream:
            found, buffer = b"", bytearray(size)
            while count := stream.readinto(memoryview(buffer)):
                found += bytes(buffer[:count])
        assert found == b"a\tb\tc\n" + b"1\t2\t3\n44\t5:x\t6\n" * 3, size


def test_the_latest_of_repeated_ratings_counts(tmp_path):
    rows = [("a", "x", 1, 5), ("a", "y", 2, 1), ("a", "x", 3, 4), ("b", "x", 4, 0), ("b", "x", 5, 0)]
    found = read(f"ratings:{write(tmp_path / 'r.csv', rows)}")
    assert [(*n, r) for n, r in zip(names(found), found.rating)] == [("a", "x", 1), ("a", "y", 2), ("b", "x", 5)]
    assert "2 of 5 rows repeat a user and an item" in found.notes[-1]


def test_rows_are_left_out(tmp_path):
    path = write(tmp_path / "r.csv", [("a", "x", 1, 5), ("a", "y", 4, 1), ("b", "x", 5, 0), ("a", "z", 4, 1)])
    assert names(read(f"ratings:{path},min_user=2")) == [("a", "x"), ("a", "y"), ("a", "z")]
    assert names(read(f"ratings:{path},like=4")) == [("a", "y"), ("b", "x"), ("a", "z")]


# ---- splits


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("left_out", [1, 2])
def test_the_last_ones_of_each_user(tmp_path, seed, left_out):
    rows = table(seed)
    found = read(f"ratings:{write(tmp_path / 'r.csv', rows)}")
    parts, _ = divide(found, "leave-last-out" if left_out == 1 else "leave-last-two-out", 0.2, 0)
    for user in {row[0] for row in rows}:
        own = sorted((k for k, row in enumerate(rows) if row[0] == user), key=lambda k: (rows[k][3], k))
        held_out = [Part.TEST] if left_out == 1 else [Part.VALIDATION, Part.TEST]
        expected = [Part.TRAIN] * (len(own) - left_out) + held_out if len(own) > left_out else [Part.TRAIN] * len(own)
        assert parts[own].tolist() == expected, (seed, user)


@pytest.mark.parametrize("seed", range(3))
def test_the_latest_of_all(tmp_path, seed):
    rows = table(seed)
    found = read(f"ratings:{write(tmp_path / 'r.csv', rows)}")
    parts, _ = divide(found, "time", 0.25, 0)
    times = np.array([row[3] for row in rows])
    assert times[parts == Part.TRAIN].max() < times[parts == Part.TEST].min()
    assert (parts == Part.TEST).sum() >= 10


def test_a_random_share(tmp_path):
    found = read(f"ratings:{write(tmp_path / 'r.csv', table())}")
    one, again, other = (divide(found, "random", 0.25, seed)[0] for seed in (0, 0, 1))
    assert (one == Part.TEST).sum() == 10
    assert one.tolist() == again.tolist() != other.tolist()


def test_users_and_items_that_are_not_trained_have_code_0(tmp_path):
    rows = [("a", "x", 1, 0), ("a", "y", 2, 1), ("b", "x", 3, 2), ("c", "z", 4, 3)]
    made = open_dataset(f"ratings:{write(tmp_path / 'r.csv', rows)},split=time", test_fraction=0.25)
    assert made.train.x.tolist() == [[1, 1], [1, 2], [2, 1]]
    assert made.test.x.tolist() == [[0, 0]]
    assert made.category_sizes == (3, 3)
    assert made.test.y.tolist() == [[4.0]]
    assert sum("have the code 0" in note for note in made.notes) == 2


# ---- samples


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("split", ["leave-last-two-out", "time", "random"])
@pytest.mark.parametrize("length", [0, 1, 3])
def test_histories_hold_earlier_training_items_only(tmp_path, seed, split, length):
    rows = table(seed)
    source = f"ratings:{write(tmp_path / 'r.csv', rows)},split={split},history={length}"
    made = open_dataset(source, task="classification", seed=seed)
    parts, _ = divide(read(source), split, 0.2, seed)
    items = made.class_names
    for part, name in enumerate(("train", "validation", "test")):
        numbers = np.flatnonzero(parts == part)
        if name in made.splits:
            assert len(numbers) == len(made.splits[name])
        for sample, row in enumerate(numbers.tolist()):
            user, item, _, time = rows[row]
            earlier = [
                k
                for k, other in enumerate(rows)
                if other[0] == user and (other[3], k) < (time, row) and parts[k] < max(part, 1)
            ]
            earlier.sort(key=lambda k: (rows[k][3], k))
            known = [rows[k][1] for k in earlier][-length:] if length else []
            x, y = made.splits[name].x[sample], made.splits[name].y[sample]
            assert [items[code] for code in x[1:] if code] == [one for one in known if one in items]
            assert items[y] == (item if item in items else "(never seen)")


def test_seen_items_are_those_before(tmp_path):
    rows = [("a", item, 1, time) for time, item in enumerate("vwxyz")] + [("b", item, 1, 0) for item in "yz"]
    made = open_dataset(f"ratings:{write(tmp_path / 'r.csv', rows)},split=leave-last-two-out", task="classification")
    hidden = {
        part: [made.class_names[k] for k in split.hidden.of(1)] for part, split in made.splits.items() if split.hidden
    }
    assert hidden == {"train": ["v", "w", "x"], "validation": ["v", "w", "x"], "test": ["v", "w", "x", "y"]}
    assert made.class_names == ("(never seen)", "v", "w", "x", "y", "z")  # of b


def test_hiding_against_loops():
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 5, 30), rng.integers(0, 8, 30)
    seen = Seen(user, item, 5, 8)
    outputs, users, targets = rng.standard_normal((6, 8)), rng.integers(0, 5, 6), rng.integers(0, 8, 6)
    hidden = seen.hide(outputs, users[:, None], targets)
    for row, (u, t) in enumerate(zip(users.tolist(), targets.tolist())):
        for code in range(8):
            had = u > 0 and any((user == u) & (item == code))
            gone = code == 0 or (had and code != t)
            assert hidden[row, code] == (-np.inf if gone else outputs[row, code]), (row, code)


def test_drawn_items(tmp_path):
    path = write(tmp_path / "r.csv", table(users=5, items=30, n=60))
    made = open_dataset(f"ratings:{path},negatives=3,split=leave-last-out")
    clicked = {(u, i) for u, i in made.train.x.take(np.arange(0, len(made.train), 4)).tolist()}
    epochs = [made.train.x.of_epoch(0, epoch) for epoch in (0, 1)]
    for rows in epochs:
        pairs = rows[:].tolist()
        assert all(((u, i) in clicked) == (k % 4 == 0) and i > 0 for k, (u, i) in enumerate(pairs))
        np.testing.assert_array_equal(made.train.y, [k % 4 == 0 for k in range(len(pairs))])
    assert epochs[0][:].tolist() != epochs[1][:].tolist()
    few = np.array([7, 2, 9, 2])
    np.testing.assert_array_equal(epochs[1].take(few), epochs[1][:][few])  # in any order, alone or together
    test = made.test.x
    assert len(test) % 100 == 0
    assert test.of_epoch(0, 5)[:].tolist() == test[:].tolist()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batches_of_pairs_do_not_depend_on_ranks(tmp_path, size):
    path = write(tmp_path / "r.csv", table(users=5, items=30, n=33))
    made = open_dataset(f"ratings:{path},negatives=2,split=leave-last-out")

    def steps(size):
        loaders = [
            Loader(made.train, batch_size=16, rank=r, size=size, seed=3, normalizer=None, prefetch=0)
            for r in range(size)
        ]
        for parts in zip(*(loader.epoch(1) for loader in loaders)):
            batches = sorted((batch for part in parts for batch in part), key=lambda batch: batch.first)
            yield np.concatenate([batch.x for batch in batches]).tolist()

    assert list(steps(size)) == list(steps(1))


def test_a_user_who_has_all_items(tmp_path):
    """Nothing can be drawn for it, and nothing waits."""
    path = write(tmp_path / "r.csv", [("a", "x", 1, 0), ("a", "y", 1, 1), ("b", "x", 1, 0), ("b", "y", 1, 1)])
    assert len(open_dataset(f"ratings:{path},negatives=2,split=random", test_fraction=0.25).train.x[:]) == 9


# ---- errors


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", "", "is empty"),
        (HEADER, "", "has a header, but no rows"),
        ("1,2,3,4\n5,6,x,8\n", "", "the rating 'x' on line 2 is no number"),
        (HEADER + "a,b,3,4\na,c,,4\n", "", "1 missing value, the first in column 'rating' on line 3"),
        (HEADER + "a,b,3,4\n,c,1,4\n", "", "missing value, the first in column 'userId' on line 3"),
        (HEADER + "a,b,3,4\na,c,1,\n", "", "missing value, the first in column 'timestamp' on line 3"),
        (HEADER + "a,b,3,4\na,c,1,soon\n", "", "the time 'soon' on line 3 is no number, and no date"),
        (HEADER + "a,b,3,4\na,c,inf,3\n", "", "the rating 'inf' on line 3 is no number"),
        (HEADER + "a,b,3,4\n", "", "1 rating cannot be split"),
        (HEADER + "a,b,3,4\na,c,3\n", "", "line 3 has 3 cells, but the header 4"),
        ("1::2::3::4\n1::2::3\n", "", "line 2 has 3 cells, but the header 4"),
        ("1\n2\n", "", "has no header, and 1 column"),
        ("1,2,3,4,5\n", "", "has no header, and 5 columns"),
        ("who,what\na,b\n", "", "no column that is named like users"),
        ("user,item\na,b\na,c\n", ",user=wer", "has no column 'wer'"),
        ("user,item\na,b\na,c\n", ",user=item,item=item", "cannot be two of"),
        (HEADER + "a,b,3,4\nb,c,3,4\n", ",split=leave-last-out", "no user has 2 ratings"),
        (HEADER + "a,b,3,4\nb,c,3,4\n", ",split=time", "as late as those of test"),
        (HEADER + "a,b,3,4\nb,c,3,4\n", ",min_user=3", "no user has 3 ratings"),
        (HEADER + "a,b,3,4\nb,c,3,4\n", ",like=7", "no rating is 7 or more"),
        ("user,item\na,b\na,c\n", ",like=7", "has no ratings for like=7"),
        ("user,item\na,b\na,c\n", ",split=leave-last-out", "there is one item to train on"),
        (HEADER, ",sep=abc", "sep=abc is no separator"),
        (HEADER, ",encoding=nope", "there is no encoding 'nope'"),
        (HEADER, ",histroy=3", "has no option 'histroy'.*history"),
        (HEADER, ",split=last", "split= is one of random, leave-last-out"),
        (HEADER, ",history=x", "history= is a whole number, 0 to 1,000, not 'x'"),
        (HEADER, ",negatives=0", "negatives= is a whole number, 1 to 1,000, not '0'"),
        (HEADER, ",history=1,negatives=1", "not both"),
        (HEADER, ",like=good", "like= is a number, not 'good'"),
        (HEADER, ",split=time,split=time", "split= is given twice"),
    ],
)
def test_errors(tmp_path, text, options, message):
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        open_dataset(f"ratings:{path}{options}")


def test_tasks(tmp_path):
    path = write(tmp_path / "r.csv", table())
    assert open_dataset(f"ratings:{path}").task == "regression"
    assert open_dataset(f"ratings:{path},rating=none").task == "classification"
    with pytest.raises(UserError, match="history= is for clicks"):
        open_dataset(f"ratings:{path},history=2", task="regression")
    with pytest.raises(UserError, match="has no column of ratings"):
        open_dataset(f"ratings:{path},rating=none", task="regression")
    with pytest.raises(UserError, match="not for segmentation"):
        open_dataset(f"ratings:{path}", task="segmentation")


def test_validation_samples(tmp_path):
    path = write(tmp_path / "r.csv", table())
    with pytest.raises(UserError, match="split=leave-last-two-out"):
        with_validation(open_dataset(f"ratings:{path},negatives=2"), 0.1, 0)
    with pytest.raises(UserError, match="has some of its own"):
        with_validation(open_dataset(f"ratings:{path},split=leave-last-two-out"), 0.1, 0)
    made = with_validation(open_dataset(f"ratings:{path},history=1"), 0.1, 0)
    assert made.validation.hidden is not None


def test_a_separator_by_name(tmp_path):
    path = tmp_path / "r"
    path.write_text("1\t2\t3\n1\t3\t4\n")
    assert names(read(f"ratings:{path},sep=tab")) == [(1, 2), (1, 3)]


def test_a_file_that_is_cut_off(tmp_path):
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "a,b,3,4\n" * 999).encode())[:40])
    with pytest.raises(UserError, match="is cut off"):
        open_dataset(f"ratings:{path}")
