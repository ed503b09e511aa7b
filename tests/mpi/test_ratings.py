"""Recommenders: the same weights and scores on any number of ranks, and on meshes."""

import numpy as np
import pytest

from mpitrain import Trainer
from tests.ratings import write_ratings

pytestmark = pytest.mark.mpi

OPTIONS = {"epochs": 2, "batch_size": 11, "progress": "none", "threads": 1, "optimizer": "adam", "lr": 0.02}
CASES = {
    "ratings": ("mf:factors=4,l2=0.05", "", []),
    "all items": ("mf:factors=4", ",split=leave-last-two-out,rating=none", ["recall:k=3", "ndcg:k=3"]),
    "history": ("two-tower:size=4,widths=5,dropout=0.2", ",history=3", ["recall:k=3", "ndcg:k=3"]),
    "pairs": ("ncf:factors=3,widths=6+4,dropout=0.2", ",negatives=3", ["recall:k=3", "ndcg:k=3"]),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory, world):
    return write_ratings(tmp_path_factory.mktemp(f"ratings{world.rank}") / "r.csv")


def train(world, file, case, **options):
    model, source, metrics = CASES[case]
    trainer = Trainer(model, f"ratings:{file}{source}", world=world, metrics=metrics, **OPTIONS | options)
    return trainer, trainer.fit().evaluations[-1]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "batch_size": 2}], ids=["", "small batches"])
def test_weights_are_those_of_one_rank(world, alone, file, case, options):
    (trainer, found), (one, expected) = (train(each, file, case, **options) for each in (world, alone))
    np.testing.assert_allclose(trainer.setup.arena.values, one.setup.arena.values, atol=3e-4)
    np.testing.assert_allclose(list(found.test.values()), list(expected.test.values()), atol=2e-3)


@pytest.mark.parametrize("case", ["history", "pairs"])
def test_a_pipeline_counts_lists_and_hides_items(world, alone, file, case):
    if world.size > 3:
        pytest.skip("there are few layers")
    _, found = train(world, file, case, mesh=f"pipe={world.size}")
    _, expected = train(alone, file, case)
    np.testing.assert_allclose(list(found.test.values()), list(expected.test.values()), atol=1e-5)
