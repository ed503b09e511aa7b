"""Law 1: the losses of a run depend on the seed and the batches, not on the number of ranks or the algorithm."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.errors import AgreedError
from mpitrain.training.build import make_loop
from mpitrain.training.control import ControlRequest, no_request
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi

IMAGES = Config(
    data=Data(source="digits", batch_size=100, crop=1, flip=True),
    model=Model(name="convnet"),
    optimizer=Optimizer(lr=0.05, accumulate=2, clip_norm=1.0, weight_decay=1e-4),
    run=Run(epochs=2),
)


def train(config, world, control=no_request):
    loop = make_loop(config, open_setup(config, world), world, Silent(None, 1), control=control)
    loop.train()
    loop.run.data_parallel.free()
    return loop


def losses(loop):
    return [(r.train["loss"], r.test["loss"]) for r in loop.run.results.evaluations]


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
    assert set(both.run.results.evaluations[-1].test) == {"loss", "mse", "rmse", "r2"}


def least_squares_r2(dataset):
    """R^2 of the best affine function of the training samples on the test samples, in extended precision."""
    train, test = dataset.train, dataset.test
    mean, std, origin = train.x.mean(axis=0), train.x.std(axis=0), train.y.mean()
    x, x_test = (np.column_stack([(part.x - mean) / std, np.ones(len(part.x))]) for part in (train, test))
    weights = np.linalg.lstsq(x, train.y[:, 0] - origin, rcond=None)[0]
    y = test.y[:, 0] - origin
    return 1 - np.square(x_test @ weights - y).sum() / np.square(y - y.mean()).sum()


@pytest.mark.parametrize("offset", [0.0, 1.7e9, 1e14])
def test_an_offset_that_float32_cannot_hold(world, alone, tmp_path, offset):
    """A target, and a column, far from zero are learnt and scored as they would be near it."""
    rng = np.random.default_rng(3)
    x = np.round(64 * rng.standard_normal((200, 3))) / 64
    y = x @ [1.0, -2.0, 0.5] + np.round(4 * rng.standard_normal(200)) / 64
    path = tmp_path / "offset.npz"
    np.savez(path, x=x + np.array([offset, 0, -offset]), y=np.round(64 * y) / 64 + offset)
    config = Config(
        data=Data(source=f"npz:{path}", task="regression", batch_size=20, prefetch=0),
        model=Model(name="mlp", widths=(8,), activation="tanh"),
        optimizer=Optimizer(name="adamw", lr=0.01),
        run=Run(epochs=40),
    )
    loop = train(config, world)
    np.testing.assert_allclose(losses(loop), losses(train(config, alone)), rtol=1e-3, atol=1e-4)
    test, dataset = loop.run.results.evaluations[-1].test, loop.run.setup.dataset
    assert dataset.train.x.dtype == dataset.train.y.dtype == np.float64
    assert dataset.notes == ()
    assert test["r2"] > least_squares_r2(dataset) - 0.05 > 0.9
    assert test["mse"] == pytest.approx((1 - test["r2"]) * (dataset.test.y - dataset.test.y[0]).var(), rel=1e-9)


def test_more_microbatches_than_samples(world):
    """A step is cut into as many microbatches as it has samples, with the same sums."""
    seen = []
    for accumulate in (1, 10**6):
        optimizer = dataclasses.replace(IMAGES.optimizer, accumulate=accumulate)
        config = dataclasses.replace(IMAGES, optimizer=optimizer, data=Data(batch_size=12), run=Run(epochs=1))
        loop = train(config, world)
        seen.append(losses(loop))
        assert loop.run.loader.microbatches == min(accumulate, 12)
    np.testing.assert_allclose(*seen, atol=1e-4)


def test_fewer_samples_than_ranks(world, table, tmp_path):
    lines = table.read_text().splitlines()[:4]  # 3 samples: 2 to train, 1 to test
    short = tmp_path / "short.csv"
    short.write_text("\n".join(lines))
    config = Config(
        data=Data(source=f"csv:{short},target=y", task="regression"), model=Model(name="mlp"), run=Run(epochs=2)
    )
    loop = train(config, world)
    assert np.isfinite(losses(loop)).all()


def test_all_ranks_stop_when_one_is_asked(world):
    asked = iter([False, False, True])
    last = world.rank == world.size - 1
    loop = train(IMAGES, world, lambda: ControlRequest(stop=last and next(asked)))
    assert loop.run.stopped
    assert loop.run.step == 3
    assert len(loop.run.results.evaluations) == 1


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_loss_that_is_not_a_number_ends_all_ranks(world):
    config = dataclasses.replace(IMAGES, optimizer=Optimizer(lr=1e30))
    with pytest.raises(AgreedError, match="the loss became"):
        train(config, world)
