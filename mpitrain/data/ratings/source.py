"""Datasets of ratings: ``ratings:FILE``.

Shapes: N ratings, K items of a history.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import UserError
from ..categories import Category
from ..dataset import CLASSIFICATION, REGRESSION, Dataset, Split
from .history import histories
from .options import RatingsOptions, parse_ratings_source
from .pairs import Draws, PairRows
from .reader import Interactions, read_interactions
from .seen import Seen, UnknownItems
from .split import Part, divide

UNSEEN = "(never seen)"
"""The name of class 0: an item that no training sample has."""
LIST = 99
"""Drawn items beside each test sample of pairs, among which its place is sought (He et al. 2017)."""
NO_YES = ("no", "yes")


@dataclass(frozen=True, eq=False)
class Coded:
    """Ratings with the codes of their users and items.

    Attributes
    ----------
    found : Interactions
    users, items : Category
    user, item : (N,) arrays of int64
        Codes; 0 for those that are not among the categories.
    """

    found: Interactions
    users: Category
    items: Category
    user: np.ndarray
    item: np.ndarray

    @classmethod
    def of(cls, found: Interactions, users: Category, items: Category) -> "Coded":
        """Return ratings with codes of the given categories."""
        user, item = users.encode(found.users)[found.user], items.encode(found.items)[found.item]
        return cls(found, users, items, user, item)

    def noting_cold(self, parts: np.ndarray) -> "Coded":
        """Return the same with notes on test and validation samples of users or items that have no training sample."""
        others = parts != Part.TRAIN
        notes = list(self.found.notes)
        for what, codes in (("users", self.user), ("items", self.item)):
            count = int(np.count_nonzero(others & (codes == 0)))
            if count:
                notes.append(
                    f"{self.found.path}: {count:,} of {int(others.sum()):,} samples that are not trained on are of "
                    f"{what} that no training sample has: they have the code 0"
                )
        return replace(self, found=replace(self.found, notes=tuple(notes)))

    def seen(self, rows: np.ndarray) -> Seen:
        """Return the items of each user in some of the rows, a mask (N,)."""
        return Seen(self.user[rows], self.item[rows], self.users.size, self.items.size)


def ratings_dataset(
    place: str, task: str | None, test_fraction: float, seed: int, known: tuple[Category, Category] | None = None
) -> Dataset:
    """Open ``ratings:place`` as a dataset; see ``data.open_dataset``.

    ``known`` are the users and the items of a trained model; by default those of the training samples.

    Regression: samples (N, 2) of user and item, targets (N, 1), the ratings. Classification: samples (N, 1 + K) of the
    user and the latest items, targets (N,), the codes of items; or, with ``negatives=``, pairs of user and item,
    ``PairRows`` (N, 2), and targets (N,), 1 for a click.
    """
    path, options = parse_ratings_source(place)
    found = read_interactions(path, options)
    task, notes = _task_of(found, task, options)
    split = options.split or ("random" if task == REGRESSION else "leave-last-out")
    parts, more = divide(found, split, test_fraction, seed)
    train = parts == Part.TRAIN
    users, items = known or (_category(found.users, found.user[train]), _category(found.items, found.item[train]))
    coded = Coded.of(replace(found, notes=(*found.notes, *notes, *more)), users, items).noting_cold(parts)
    if task == REGRESSION:
        return _explicit(coded, parts)
    if coded.items.size < 3:
        raise UserError(f"{found.path}: there is one item to train on, and nothing to choose from")
    if options.negatives:
        return _pairs(coded, parts, options.negatives, seed)
    return _clicks(coded, parts, options.history)


def _category(names: np.ndarray, places: np.ndarray) -> Category:
    return Category.of(names[np.unique(places)])


def _task_of(found: Interactions, task: str | None, options: RatingsOptions) -> tuple[str, tuple[str, ...]]:
    """Return the task, and a note on it where it was not asked for."""
    if task not in (None, REGRESSION, CLASSIFICATION):
        raise UserError(f"ratings are for {REGRESSION} or {CLASSIFICATION}, not for {task}")
    clicks = [f"{key}=" for key in ("history", "negatives") if getattr(options, key)]
    clicks += ["like="] * (options.like is not None)
    if task == REGRESSION and found.rating is None:
        raise UserError(f"{found.path} has no column of ratings: say which one it is, as in rating=COLUMN")
    if task == REGRESSION and clicks:
        raise UserError(f"{clicks[0]} is for clicks: --task {CLASSIFICATION}")
    if task is not None:
        return task, ()
    if found.rating is None or clicks:
        return CLASSIFICATION, ()
    why = f"{found.path}: {REGRESSION}, since there are ratings (--task {CLASSIFICATION} predicts the items instead)"
    return REGRESSION, (why,)


def _dataset(coded: Coded, task: str, splits: dict[Part, Split], num_outputs: int, **more: Any) -> Dataset:
    more |= {"validation": splits.get(Part.VALIDATION), "notes": coded.found.notes}
    return Dataset(coded.found.name, task, splits[Part.TRAIN], splits[Part.TEST], num_outputs, **more)


def _rows(parts: np.ndarray) -> dict[Part, np.ndarray]:
    """Return the rows of each part that has any, in the order of the file."""
    found = {part: np.flatnonzero(parts == part) for part in Part}
    return {part: rows for part, rows in found.items() if len(rows) or part != Part.VALIDATION}


def _explicit(coded: Coded, parts: np.ndarray) -> Dataset:
    columns, rating = coded.found.columns, coded.found.rating
    assert rating is not None
    x = np.stack([coded.user, coded.item], axis=1)
    splits = {part: Split(x[rows], rating[rows, None]) for part, rows in _rows(parts).items()}
    return _dataset(
        coded,
        REGRESSION,
        splits,
        1,
        feature_names=(columns["user"], columns["item"]),
        target_name=columns["rating"],
        categories=(coded.users, coded.items),
    )


def _clicks(coded: Coded, parts: np.ndarray, length: int) -> Dataset:
    columns, splits = coded.found.columns, dict[Part, Split]()
    for part, rows in _rows(parts).items():
        latest = histories(coded.found, parts, part, coded.item, length)
        x = np.concatenate([coded.user[rows, None], latest], axis=1)
        splits[part] = Split(x, coded.item[rows], coded.seen(parts < max(int(part), 1)))
    return _dataset(
        coded,
        CLASSIFICATION,
        splits,
        coded.items.size,
        class_names=(UNSEEN, *map(coded.items.name, range(1, coded.items.size))),
        feature_names=(columns["user"], *(f"{columns['item']}[-{k}]" for k in range(length, 0, -1))),
        target_name=columns["item"],
        categories=(coded.users, *[coded.items] * length),
    )


def _pairs(coded: Coded, parts: np.ndarray, negatives: int, seed: int) -> Dataset:
    columns, splits = coded.found.columns, dict[Part, Split]()
    everything = coded.seen(np.ones(len(parts), bool))
    for part, rows in _rows(parts).items():
        is_train = part == Part.TRAIN
        others = Draws(LIST, everything, seed, -int(part))
        draws = Draws(negatives, coded.seen(parts == Part.TRAIN)) if is_train else others
        x = PairRows(coded.user[rows], coded.item[rows], draws, of_epochs=is_train)
        splits[part] = Split(x, x.targets, UnknownItems())
    return _dataset(
        coded,
        CLASSIFICATION,
        splits,
        2,
        class_names=NO_YES,
        feature_names=(columns["user"], columns["item"]),
        target_name=columns["item"],
        categories=(coded.users, coded.items),
    )
