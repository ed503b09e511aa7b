"""Ranks that differ are told apart, by one small all-reduce where they do not."""

import numpy as np
import pytest

from mpitrain.comm.agreement import differences, odd_ranks, say_values
from mpitrain.data import Dataset, Split
from mpitrain.data.matching.fingerprint import fingerprint
from mpitrain.errors import AgreedError
from mpitrain.training.same_data import check_same_data

pytestmark = pytest.mark.mpi


def test_tables_that_are_alike_cost_one_all_reduce(world):
    table = {f"--option-{k}": str(k) for k in range(50)} | {"odd \udcff": ""}
    before = world.ledger.job.number
    assert differences(world, table) == {}
    assert differences(world, dict(reversed(table.items()))) == {}  # the order does not count
    assert world.ledger.job.number - before == 2


def test_lines_that_differ_by_their_ranks(world):
    last = world.size - 1
    table = {"a": "1", "b": "same", "c": "x" if world.rank < last else "y"}
    if world.rank == last:
        table["only here"] = "z"
    found = differences(world, table)
    if world.size == 1:
        assert found == {}
        return
    others = list(range(last))
    assert found == {"c": {"x": others, "y": [last]}, "only here": {None: others, "z": [last]}}
    assert list(found) == ["c", "only here"]
    assert odd_ranks(found["c"]) == [last]


def test_where_rank_0_is_the_odd_one(world):
    found = differences(world, {"v": str(world.rank == 0), "w": "" if world.rank else "0"})
    if world.size > 2:
        assert found["v"] == {"True": [0], "False": list(range(1, world.size))}
        assert odd_ranks(found["v"]) == [0]
    if world.size == 2:
        assert odd_ranks(found["v"]) == [1]  # one against one: rank 0 is right


def test_words():
    assert say_values({"64": [0, 1, 2], "32": [3]}) == "64 on ranks 0-2 and 32 on rank 3"
    assert say_values({"a": [0], None: [1]}, missing="not given") == "a on rank 0 and not given on rank 1"
    many = {str(k): [k] for k in range(9)}
    assert say_values(many) == "0 on rank 0, 1 on rank 1, 2 on rank 2 and 6 others on other ranks"


def dataset(seed=0, rows=20, classes=("n", "p")):
    x = np.random.default_rng(seed).standard_normal((rows, 2)).astype(np.float32)
    y = np.arange(rows) % 2
    return Dataset("t", "classification", Split(x, y), Split(x[:4], y[:4]), 2, classes, ("a", "b"), "y")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({}, None),
        ({"seed": 1}, "the training samples on rank {last} differ from those of the other ranks: all ranks must"),
        ({"rows": 19}, r"the training samples are \(20, 2\) float32 on rank.* and \(19, 2\) float32 on rank {last}"),
        ({"classes": ("p", "n")}, "the classes are 'n', 'p' on rank.* and 'p', 'n' on rank {last}"),
    ],
)
def test_data_of_one_rank_that_are_others(world, odd, message):
    last = world.size - 1
    mine = dataset(**odd) if world.rank == last else dataset()
    if message is None or world.size == 1:
        check_same_data(world, fingerprint(mine), "f.csv")
        return
    with pytest.raises(AgreedError, match=message.format(last=last)) as error:
        check_same_data(world, fingerprint(mine), f"{world.rank // last}.csv")
    assert str(error.value).endswith("they read 0.csv and 1.csv")
    texts = world.all_gather(str(error.value))
    assert len(set(texts)) == 1
