"""Tables with categories, dates and missing values: equal losses on any number of ranks, in memory and in files."""

import random

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Run
from mpitrain.data.tables import stored
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup, resolved

pytestmark = pytest.mark.mpi

ROWS = 167


@pytest.fixture
def table(directory, world):
    if world.rank == 0:
        rng = random.Random(3)
        lines = ["city,age,when,y"]
        for _ in range(ROWS):
            city, age = rng.choice(["Rome", "Oslo", "", "Bonn"]), rng.choice(["", f"{rng.gauss(40, 9):.1f}"])
            late = (city == "Oslo") ^ (rng.random() < 0.1)
            lines.append(f"{city},{age},2024-0{rng.randrange(1, 10)}-0{rng.randrange(1, 10)},{'yes' if late else 'no'}")
        (directory / "t.csv").write_text("\n".join(lines) + "\n")
    world.all_gather(0)  # it is there on all ranks from here on
    return directory / "t.csv"


def train(path, world):
    config = Config(
        data=Data(source=f"csv:{path},target=y", batch_size=16, validation=0.1),
        model=Model(name="mlp:dropout=0.1,widths=8"),
        optimizer=Optimizer(name="adam", lr=0.01, class_weights="balanced"),
        run=Run(epochs=3, metrics="auc"),
    )
    setup = open_setup(config, world)
    loop = make_loop(resolved(config, setup), setup, world, Silent(None, 1))
    loop.train()
    loop.run.data_parallel.free()
    found = loop.run.results.evaluations
    return setup, [[*r.train.values(), *r.validation.values(), *r.test.values()] for r in found]


@pytest.mark.parametrize("large", [False, True])
def test_losses_on_any_number_of_ranks(world, alone, table, directory, monkeypatch, large):
    _, wanted = train(table, alone)
    monkeypatch.setenv(stored.CACHE.variable, str(directory / "cache"))
    if large:
        monkeypatch.setattr(stored, "LARGE", 0)
    setup, found = train(table, world)
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-4)
    assert len(setup.dataset.categories) == 8
    made = list((directory / "cache").glob("[!.]*"))
    assert len(made) == int(large)
