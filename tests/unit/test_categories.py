import json

import numpy as np
import pytest

from mpitrain.data.build import build_dataset
from mpitrain.data.categories import MOST, Category, categories_from, check_categories, facts_of
from mpitrain.data.matching.conform import conform
from mpitrain.data.matching.fingerprint import fingerprint
from mpitrain.data.matching.signature import Signature
from mpitrain.data.samples import make_dataset
from mpitrain.errors import UserError
from mpitrain.models import Codes, build


@pytest.mark.parametrize("values", [["b", "a", "", "ä"], [5, -3, 10**12], []])
def test_codes_of_values(values):
    column = np.array(values, np.str_ if not values or isinstance(values[0], str) else np.int64)
    category = Category.of(column)
    again = Category.from_facts(json.loads(json.dumps(category.facts())))
    for one in (category, again):
        codes = one.encode(column)
        assert [one.name(code) for code in codes] == list(map(str, values))
        assert sorted(codes) == list(range(1, len(values) + 1))
        assert one.encode(np.array(["new"] if column.dtype.kind == "U" else [7])).tolist() == [0]
    assert category.digest() == again.digest()


def test_a_category_of_several_columns_is_written_once():
    items, other = Category.of(np.array(["a", "b"])), Category(3)
    facts = json.loads(json.dumps(facts_of((None, items, other, items, None, items))))
    assert facts[3] == facts[5] == {"column": 1}
    found = categories_from(facts)
    assert [None if one is None else one.digest() for one in found] == [
        None if one is None else one.digest() for one in (None, items, other, items, None, items)
    ]
    with pytest.raises(ValueError, match="column 0 is like 0"):
        categories_from([{"column": 0}])


def test_codes_as_they_are():
    assert Category(4).encode(np.array([3, 0])).tolist() == [3, 0]
    with pytest.raises(UserError, match="a code is 4, and there are the codes 0 to 3"):
        Category(4).encode(np.array([4]))


def mixed(seed, colors=("blue", "green", "red"), swap=False):
    rng = np.random.default_rng(seed)
    named = rng.choice(colors, 40)
    named[: len(colors)] = colors
    category = Category.of(named)
    columns, names, categories = [rng.standard_normal(40), category.encode(named)], ["size", "color"], [None, category]
    if swap:
        columns, names, categories = columns[::-1], names[::-1], categories[::-1]
    data = np.stack(columns, axis=1), rng.integers(0, 2, 40)
    return named, build_dataset(
        "t",
        "t",
        data,
        None,
        task=None,
        test_fraction=0.2,
        seed=seed,
        feature_names=tuple(names),
        categories=tuple(categories),
    )


def test_other_data_get_the_codes_of_the_model():
    _, then = mixed(1)
    signature = Signature.from_facts(json.loads(json.dumps(Signature.of(then).facts())))
    _, now = mixed(2, ("red", "white", "blue"), swap=True)
    found = conform(now, signature, "new")
    assert found.feature_names == ("size", "color")
    assert found.category_sizes == (0, 4)
    color = now.categories[0]
    names = [color.name(int(code)) for code in now.train.x[:, 0]]
    wanted = {"blue": 1, "red": 3, "white": 0}
    assert found.train.x[:, 1].tolist() == [wanted[name] for name in names]
    np.testing.assert_array_equal(found.train.x[:, 0], now.train.x[:, 1])


def test_numbers_in_place_of_categories():
    _, then = mixed(1)
    x, y = then.train.x, then.train.y
    numbers = build_dataset(
        "n", "n", (x, y), None, task=None, test_fraction=0.2, seed=0, feature_names=("size", "color")
    )
    with pytest.raises(UserError, match="only numbers in its columns, but the model was trained on categories"):
        conform(numbers, Signature.of(then), "n")
    with pytest.raises(UserError, match="categories in its columns, but the model was trained on only numbers"):
        conform(then, Signature.of(numbers), "t")


def test_fingerprints_differ_by_categories():
    _, first = mixed(1)
    _, second = mixed(1, ("blue", "green", "rot"))
    lines = fingerprint(first), fingerprint(second)
    assert lines[0]["categories of column 'color'"] != lines[1]["categories of column 'color'"]


def test_wrong_codes():
    for x in (np.array([[0.5, 3.0]]), np.array([[0.5, -1.0]]), np.array([[0.5, 1.5]])):
        with pytest.raises(UserError, match="column 'c' must hold the codes 0 to 2"):
            check_categories(x, (None, Category(3)), "t", ("n", "c"))
    with pytest.raises(UserError, match="categories, and at most 16,777,216 are possible"):
        check_categories(np.zeros((1, 2)), (None, Category(MOST + 1)), "t")
    check_categories(np.zeros((1, 1), np.int64), (Category(MOST + 1),), "t")
    with pytest.raises(UserError, match="for 1 columns"):
        check_categories(np.zeros((1, 2)), (Category(3),), "t")


class Owned:
    categories = (Category(7), Category(9))

    def __len__(self):
        return 30

    def take(self, indices):
        return np.stack([indices % 7, indices % 9], axis=1).astype(np.int32), (indices % 2).astype(float)


def test_only_codes_are_integers():
    dataset = make_dataset(Owned())
    assert dataset.train.x.dtype == np.int64
    assert dataset.only_codes
    assert dataset.category_sizes == (7, 9)


def test_models_take_or_refuse_categories():
    codes = Codes(categories=(0, 5))
    assert build("mlp:widths=4", (2,), 2, codes=codes)[0].columns == (1,)
    with pytest.raises(UserError, match="the model lenet takes numbers, and some columns are categories: mlp"):
        build("lenet", (28, 28, 1), 2, codes=codes)
    with pytest.raises(UserError, match="the model mlp takes numbers, and the samples are tokens"):
        build("mlp", (2,), 2, codes=Codes(9))
