"""Law 1: the losses of a run depend on the seed and the batches, not on the number of ranks or the algorithm."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.errors import AgreedError
from mpitrain.training.progress import Silent
from mpitrain.training.session import open_session
from mpitrain.training.trainer import Trainer
from mpitrain.training.wishes import Wishes, nothing

pytestmark = pytest.mark.mpi

IMAGES = Config(
    data=Data(source="digits", batch_size=100, crop=1, flip=True),
    model=Model(name="convnet"),
    optimizer=Optimizer(lr=0.05, accumulate=2, clip_norm=1.0, weight_decay=1e-4),
    run=Run(epochs=2),
)


def train(config, world, wishes=nothing):
    trainer = Trainer(config, open_session(config, world), world, None, Silent(None, 1), wishes)
    trainer.run()
    trainer.data_parallel.free()
    return trainer


def losses(trainer):
    return [(r.train["loss"], r.test["loss"]) for r in trainer.record.results]


@pytest.fixture(scope="module")
def table(world, tmp_path_factory):
    """A regression table of 61 rows; each rank writes its own copy."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((61, 10))
    y = x @ rng.standard_normal(10) + 100 + 0.1 * rng.standard_normal(61)
    path = tmp_path_factory.mktemp(f"table{world.rank}") / "table.csv"
    header = ",".join([*(f"f{i}" for i in range(10)), "y"])
    np.savetxt(path, np.column_stack([x, y]), delimiter=",", header=header, comments="")
    return path


@pytest.mark.parametrize(
    ("all_reduce", "shard"),
    [
        *((name, "auto") for name in ("ring", "tree", "flat", "native", "shared", "auto")),
        ("auto", "none"),
        ("ring", "optimizer"),
    ],
)
def test_images_on_any_number_of_ranks(world, alone, all_reduce, shard):
    parallel = Parallel(all_reduce=all_reduce, shard=shard, bucket_mb=0.05, check_every=3)
    config = dataclasses.replace(IMAGES, parallel=parallel)
    np.testing.assert_allclose(losses(train(config, world)), losses(train(IMAGES, alone)), atol=1e-4)


@pytest.mark.parametrize("all_reduce", ["ring", "native", "auto"])
def test_a_thread_for_messages_changes_nothing(world, all_reduce):
    parallel = Parallel(all_reduce=all_reduce, bucket_mb=0.05, check_every=3)
    threaded = dataclasses.replace(parallel, overlap="thread")
    seen = [losses(train(dataclasses.replace(IMAGES, parallel=p), world)) for p in (parallel, threaded)]
    if all_reduce == "native":
        np.testing.assert_allclose(seen[0], seen[1], atol=1e-4)  # MPI need not add in the same order twice
    else:
        assert seen[0] == seen[1]
    world.use_progress_thread(False)


def test_dropout_and_regression(world, alone, table):
    config = Config(
        data=Data(source=f"csv:{table},target=y", task="regression", batch_size=16),
        model=Model(name="mlp", widths=(10,), dropout=0.2),
        optimizer=Optimizer(name="adamw", lr=0.01),
        run=Run(epochs=3),
    )
    both = train(config, world)
    np.testing.assert_allclose(losses(both), losses(train(config, alone)), atol=1e-4)
    assert set(both.record.results[-1].test) == {"loss", "mse", "rmse", "r2"}


def test_fewer_samples_than_ranks(world, table, tmp_path):
    lines = table.read_text().splitlines()[:4]  # 3 samples: 2 to train, 1 to test
    short = tmp_path / "short.csv"
    short.write_text("\n".join(lines))
    config = Config(
        data=Data(source=f"csv:{short},target=y", task="regression"), model=Model(name="mlp"), run=Run(epochs=2)
    )
    trainer = train(config, world)
    assert np.isfinite(losses(trainer)).all()


def test_all_ranks_stop_when_one_is_asked(world):
    asked = iter([False, False, True])
    last = world.rank == world.size - 1
    trainer = train(IMAGES, world, lambda: Wishes(stop=last and next(asked)))
    assert trainer.stopped
    assert trainer.step == 3
    assert len(trainer.record.results) == 1


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_loss_that_is_not_a_number_ends_all_ranks(world):
    config = dataclasses.replace(IMAGES, optimizer=Optimizer(lr=1e30))
    with pytest.raises(AgreedError, match="the loss became"):
        train(config, world)
