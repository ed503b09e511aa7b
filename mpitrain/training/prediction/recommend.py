"""Recommendations: the best items for each user of a file, and predicted ratings of its pairs.

Shapes: U users, I codes of items, n samples.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ...comm.world import World
from ...data.dataset import REGRESSION
from ...data.ratings.pairs import AllPairs
from ...data.ratings.trained import Users, notes_on_unknown, pairs_of_rows, users_of
from ...data.sampler import share
from ...errors import UserError
from ..directory.trained_model import TrainedModel, softmax
from .ensemble import Member, outputs_of
from .files import Columns

SCORES, USERS, ROWS = 1 << 16, 64, 4096
"""Sizes of a piece, the same on any number of ranks: products of as many threads round alike."""
NUM_BEST = 10


def predicted_ratings(members: Sequence[Member], place: str, world: World) -> tuple[Columns, tuple[str, ...]]:
    """Return user, item and predicted rating of each row of a file, and notes (collective)."""
    run = _check_members(members, place, world)
    with world.together():
        coded, x = pairs_of_rows(place, run.signature, place)
    columns = coded.found.columns
    found = {columns["user"]: coded.found.users[coded.found.user], columns["item"]: coded.found.items[coded.found.item]}
    return found | run.columns(_all_outputs(members, x, world)), (*coded.found.notes, *notes_on_unknown(coded))


def recommended(
    members: Sequence[Member], place: str, count: int, world: World
) -> tuple[Columns, int, tuple[str, ...]]:
    """Return the ``count`` best items of each user of a file, the number of users, and notes (collective).

    Items that the user has in the file are left out. Of equal scores the item that comes first among the model's wins.

    Returns
    -------
    columns : dict
        user, rank (from 1), item and score, one row for each item: a predicted rating, or a probability.
    """
    run = _check_members(members, place, world)
    with world.together():
        users = users_of(place, run.signature, place)
        if count >= users.items.size:
            raise UserError(f"--top is {count}, but the model knows {users.items.size - 1:,} items")
    whole = members[0].evaluator.has_whole_model
    best = [_best(scores, users, rows, count) for rows, scores in _scores(members, users, world)]
    parts = [part for of_rank in (world.all_gather(best) if whole else [best]) for part in of_rank]
    user, rank, item, score = np.concatenate([np.empty((4, 0)), *parts], axis=1)
    columns = users.found.columns
    names = np.array([users.items.name(code) for code in range(users.items.size)])
    found = {
        columns["user"]: users.names[user.astype(np.int64)],
        "rank": rank.astype(np.int64) + 1,
        columns["item"]: names[item.astype(np.int64)],
        run.signature.target_name if run.signature.task == REGRESSION else "probability": score,
    }
    return found, len(users), users.notes


def _best(scores: np.ndarray, users: Users, rows: slice, count: int) -> np.ndarray:
    """Return user, place, item and score of the best items of some users, (4, n) float64, given scores (U, I)."""
    number = np.arange(rows.start, rows.stop)
    hidden = users.seen.hide(scores, number[:, None] + 1)
    item = np.argsort(-hidden, axis=1, kind="stable")[:, :count]
    score = np.take_along_axis(hidden, item, axis=1)
    place = np.broadcast_to(np.arange(item.shape[1]), item.shape)
    found = np.stack([np.broadcast_to(number[:, None], item.shape), place, item, score])
    best: np.ndarray = found.reshape(4, -1)[:, np.isfinite(score.reshape(-1))]
    return best


def _check_members(members: Sequence[Member], place: str, world: World) -> TrainedModel:
    """Return the first run; raise an AgreedError if the runs do not know the same users and items."""
    first = members[0].run
    with world.together():
        for member in members[1:]:
            digests = [
                [None if one is None else one.digest() for one in run.signature.categories]
                for run in (first, member.run)
            ]
            if digests[0] != digests[1]:
                raise UserError(f"{place}: the runs were not trained on the same users and items")
    return first


def _scores(members: Sequence[Member], users: Users, world: World) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (users, scores (n, I)) of this rank's pieces, of all where ranks divide the model.

    Code 0, which is no item, has no score.
    """
    run = members[0].run
    pairs, num_items = run.signature.num_outputs <= 2, users.items.size
    step = max(1, min(USERS, SCORES // num_items))
    starts = range(0, len(users), step)
    if members[0].evaluator.has_whole_model:
        starts = starts[share(len(starts), world.rank, world.size)]
    for start in starts:
        rows = slice(start, min(start + step, len(users)))
        if not pairs:
            yield rows, softmax(_outputs(members, users.x[rows], world))
            continue
        outputs = _outputs(members, AllPairs(users.x[rows, 0], num_items), world)
        if run.target_normalizer is not None:
            found = run.target_normalizer.inverse(outputs)[:, 0]
        else:
            found = softmax(outputs)[:, 1]
        scores = np.full((rows.stop - rows.start, num_items), -np.inf)
        scores[:, 1:] = found.reshape(-1, num_items - 1)
        yield rows, scores


def _outputs(members: Sequence[Member], x: "np.ndarray | AllPairs", world: World) -> np.ndarray:
    """Return the outputs of samples that this rank computes alone, or all together where they divide the model."""
    if not members[0].evaluator.has_whole_model:
        return members[0].evaluator.all_outputs(x, members[0].run.signature.num_outputs)
    samples = [x] * len(members)
    parts = [np.array(outputs) for _, outputs in outputs_of(members, samples, slice(0, len(x)))]  # type: ignore[arg-type]
    return np.concatenate([np.empty((0, members[0].run.signature.num_outputs)), *parts])


def _all_outputs(members: Sequence[Member], x: np.ndarray, world: World) -> np.ndarray:
    """Return the outputs of all samples on every rank, of which each computes its share (collective)."""
    if not members[0].evaluator.has_whole_model:
        return _outputs(members, x, world)
    starts = range(0, len(x), ROWS)
    mine = [_outputs(members, x[k : k + ROWS], world) for k in starts[share(len(starts), world.rank, world.size)]]
    return np.concatenate([part for of_rank in world.all_gather(mine) for part in of_rank])
