"""Ratings for a trained model: its users and items, found by name.

Shapes: N rows of a file, U users, K items of a history, I codes of items.
"""

from dataclasses import dataclass, replace

import numpy as np

from ...errors import UserError
from ..categories import Category
from ..dataset import REGRESSION, Dataset, Split
from ..matching.signature import Signature
from .history import latest_items
from .options import NONE, parse_ratings_source
from .reader import Interactions, read_interactions, read_rows
from .seen import Seen
from .source import Coded, ratings_dataset


def known_of(signature: Signature, where: str) -> tuple[Category, Category]:
    """Return the users and the items that a model was trained on.

    Raises
    ------
    UserError
        If it was not trained on ratings.
    """
    if not signature.source.startswith("ratings:") or not signature.categories:
        raise UserError(f"{where}: the model was not trained on ratings")
    users, *items = signature.categories
    found = items[-1] if items else _of_names(signature.class_names[1:])
    assert users is not None
    assert found is not None
    return users, found


def scored_rows(place: str, signature: Signature, where: str) -> Dataset:
    """Return a file with its targets to score a model: test samples, or all of its rows as such for ratings.

    Raises
    ------
    UserError
        If it has none, or the model was not trained on ratings.
    """
    known = known_of(signature, where)
    path, options = parse_ratings_source(place)
    if signature.task != REGRESSION:
        return ratings_dataset(place, signature.task, 0.2, 0, known)
    found = read_interactions(path, replace(options, min_user=1))
    if found.rating is None:
        raise UserError(f"{found.path} has no column of ratings, without which nothing can be scored")
    coded = Coded.of(found, *known)
    all_rows = Split(np.stack([coded.user, coded.item], axis=1), found.rating[:, None])
    none = Split(all_rows.x[:0], all_rows.y[:0])
    names = (*signature.feature_names, signature.target_name)
    return Dataset(
        found.name,
        REGRESSION,
        all_rows,
        none,
        1,
        feature_names=names[:2],
        target_name=names[2],
        notes=(*found.notes, *notes_on_unknown(coded)),
        categories=known,
    )


def pairs_of_rows(place: str, signature: Signature, where: str) -> tuple[Coded, np.ndarray]:
    """Return all rows of a file, also repeated ones, and their pairs of user and item, (N, 2) int64."""
    path, options = parse_ratings_source(place)
    coded = Coded.of(read_rows(path, replace(options, rating=NONE)), *known_of(signature, where))
    return coded, np.stack([coded.user, coded.item], axis=1)


@dataclass(frozen=True, eq=False)
class Users:
    """The users of a file, with their items.

    Attributes
    ----------
    found : Interactions
    x : (U, 1 + K) array of int64
        The code of each user, and of the latest items.
    seen : Seen
        The items of each user, whose number is its place in ``x`` plus 1.
    items : Category
    notes : tuple of str
    """

    found: Interactions
    x: np.ndarray
    seen: Seen
    items: Category
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def names(self) -> np.ndarray:
        """The names of the users, (U,)."""
        return self.found.users


def users_of(place: str, signature: Signature, where: str) -> Users:
    """Return the users of a file, in the order of their first rows."""
    path, options = parse_ratings_source(place)
    rating = options.rating if options.like is not None else NONE
    found = read_interactions(path, replace(options, rating=rating, min_user=1))
    found = _numbered(found)
    coded = Coded.of(found, *known_of(signature, where))
    length = 0 if signature.num_outputs <= 2 else len(signature.categories) - 1
    user = coded.users.encode(found.users)
    x = np.concatenate([user[:, None], latest_items(found, coded.item, length)], axis=1)
    seen = Seen(found.user + 1, coded.item, len(found.users) + 1, coded.items.size)
    return Users(found, x, seen, coded.items, (*found.notes, *notes_on_unknown(coded)))


def notes_on_unknown(coded: Coded) -> tuple[str, ...]:
    """Return notes on users and items that the model does not know."""
    notes = []
    for kind, names, known in (
        ("user", coded.found.users, coded.users),
        ("item", coded.found.items, coded.items),
    ):
        unknown = names[known.encode(names) == 0]
        if len(unknown):
            more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
            notes.append(
                f"{coded.found.path}: the model does not know {len(unknown):,} {kind}{'s' * (len(unknown) > 1)}: "
                f"{', '.join(map(str, unknown[:3]))}{more}"
            )
    return tuple(notes)


def _numbered(found: Interactions) -> Interactions:
    """Return ratings whose users are numbered in the order of their rows, without those that have none."""
    places, first, user = np.unique(found.user, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(places), np.int64)
    number[order] = np.arange(len(places))
    return replace(found, users=found.users[places[order]], user=number[user])


def _of_names(names: tuple[str, ...]) -> Category:
    """Return the category of names in its order, integers where all of them are."""
    try:
        values = np.array([int(name) for name in names], np.int64)
    except (ValueError, OverflowError):
        values = np.array(names)
    if list(map(str, values.tolist())) != list(names):
        values = np.array(names)
    return Category(len(names) + 1, values)
