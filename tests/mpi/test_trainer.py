"""``Trainer``, from a program: data, models and metrics of the user's own, and the weights that come of it."""

import numpy as np
import pytest

from mpitrain import Linear, Sequential, Trainer
from mpitrain.errors import AgreedError
from mpitrain.training.build import make_loop
from tests.own_table import Table

pytestmark = pytest.mark.mpi

OPTIONS = {"epochs": 2, "progress": "none", "batch_size": 100}


def net(input_shape, num_outputs):
    return Sequential(Linear(input_shape[0], num_outputs))


def test_the_result_is_that_of_the_command_line(world):
    """The same settings by keywords and by a config: the same weights, to the bit."""
    trainer = Trainer("mlp:widths=16", "digits", world=world, optimizer="adam", lr=0.01, **OPTIONS)
    result = trainer.fit()
    weights = trainer.setup.arena.values.copy()
    again = Trainer("mlp:widths=16", "digits", world=world, optimizer="adam", lr=0.01, **OPTIONS)
    loop = make_loop(again.config, again.setup, world, again._display())
    loop.train()
    np.testing.assert_array_equal(again.setup.arena.values, weights)
    loop.run.data_parallel.free()
    assert result.test == loop.run.results.evaluations[-1].test == result.evaluations[1].test
    assert (len(result.evaluations), result.steps, result.stopped) == (2, 30, False)
    assert result.best in result.evaluations
    assert world.all_gather(result.test) == [result.test] * world.size


def test_evaluate_predict_and_outputs(world):
    trainer = Trainer("mlp:widths=16", "digits", world=world, **OPTIONS)
    result = trainer.fit()
    assert trainer.evaluate() == result.test
    test = trainer.setup.dataset.test
    assert (trainer.predict(test.x) == test.y).mean() == pytest.approx(result.test["accuracy"])
    assert trainer.outputs(test.x[:7]).shape == (7, 10)
    assert trainer.predict(test.x[:0]).shape == (0,)
    assert trainer.evaluate((test.x, test.y)) == result.test
    assert trainer.evaluate("digits") == result.test
    with pytest.raises(AgreedError, match=r"samples must be \(N, 8 x 8 x 1\), but they are \(3, 8\)"):
        trainer.predict(np.zeros((3, 8)))


def test_fit_continues_with_the_weights(world):
    trainer = Trainer("mlp:widths=16", "digits", world=world, **OPTIONS)
    first, second = trainer.fit(), trainer.fit()
    assert second.train["loss"] < first.train["loss"]


def test_own_data(world):
    trainer = Trainer(net, Table(), world=world, epochs=30, batch_size=10, progress="none", metrics=[accuracy])
    result = trainer.fit()
    dataset = trainer.setup.dataset
    assert (dataset.name, dataset.class_names, len(dataset.train)) == ("Table", ("less", "more"), 48)
    assert result.test["accuracy"] > 0.85
    assert trainer.evaluate(Table(seed=1))["accuracy"] > 0.85
    assert result.test["own"] == pytest.approx(result.test["accuracy"])
    mixed = Trainer(net, (Table(), Table(seed=1)), world=world, epochs=1, progress="none")
    assert (len(mixed.setup.dataset.train), len(mixed.setup.dataset.test)) == (60, 60)


def accuracy(outputs, targets):
    return float((outputs.argmax(axis=1) == targets).mean())


accuracy.__name__ = "own"


def test_arrays_and_a_regression(world):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    y = 100 + x @ [1.0, 2.0, 3.0]
    trainer = Trainer(Sequential(Linear(3, 1)), (x, y), world=world, epochs=20, batch_size=20, progress="none")
    result = trainer.fit()
    assert result.test["r2"] > 0.99
    np.testing.assert_allclose(trainer.predict(x[:5])[:, 0], y[:5], atol=0.5)


def test_a_run_directory(world, directory):
    trainer = Trainer("mlp:widths=16", "digits", world=world, out=str(directory / "run"), **OPTIONS)
    result = trainer.fit()
    names = {path.name for path in (directory / "run").iterdir()}
    assert {"config.toml", "metrics.jsonl", "model.safetensors", "best.safetensors", "report.json"} <= names
    loaded = Trainer.load(directory / "run", world=world)
    np.testing.assert_array_equal(loaded.setup.arena.values, trainer.setup.arena.values)
    assert loaded.evaluate() == result.test
    with pytest.raises(AgreedError, match="holds an earlier run"):
        Trainer("mlp:widths=16", "digits", world=world, out=str(directory / "run"), **OPTIONS).fit()


def test_save_and_load_with_objects(world, directory):
    trainer = Trainer(net, Table(), world=world, out=str(directory / "run"), epochs=5, progress="none")
    result = trainer.fit()
    with pytest.raises(AgreedError, match=r"the data of .* are not known by name: give them as data="):
        Trainer.load(directory / "run", world=world)
    loaded = Trainer.load(directory / "run", model=net, data=Table(), world=world)
    assert loaded.evaluate() == result.test
    trainer.save(directory / "weights.safetensors")
    assert (directory / "weights.safetensors").is_file()
    with pytest.raises(AgreedError, match="cannot write"):
        trainer.save(directory / "none" / "weights.safetensors")


class Wrong(Table):
    def take(self, indices):
        return self.x[indices]


class Short(Table):
    def take(self, indices):
        return self.x[:1], self.y[:1]


class Failing(Table):
    def take(self, indices):
        raise OSError("no such disk")


@pytest.mark.parametrize(
    ("model", "data", "settings", "text"),
    [
        (net, Wrong(), {}, r"the data: take\(indices\) must return a pair \(x, y\), but it returned a ndarray"),
        (net, Short(), {}, r"the data: take of 60 numbers returned samples \(1, 3\) and targets \(1,\)"),
        (net, Failing(), {}, r"the data: take\(indices\) failed: OSError: no such disk"),
        (net, 3, {}, r"the data must have a length and a method take\(indices\), but it is a int"),
        (lambda shape, count: 5, Table(), {}, "the model must be a Layer, but .* returned a int"),
        (lambda shape: 5, Table(), {}, "failed: TypeError"),
        (3, Table(), {}, "the model must be a text, a Layer or a function, not a int"),
        ("nets", "digits", {}, "there is no model 'nets'"),
        ("mlp", "digits", {"epoch": 2}, "did you mean 'epochs'"),
        ("mlp", "digits", {"hooks": [3]}, "a hook is a Hook, a name or FILE.py:FUNC, not a int"),
        ("mlp", "digits", {"metrics": ["acuracy"]}, "acuracy"),
    ],
)
def test_mistakes(world, model, data, settings, text):
    with pytest.raises(AgreedError, match=text):
        Trainer(model, data, world=world, **settings)


class Other(Table):
    """Rows of a ``Table`` in another order of columns, with classes that can be renamed."""

    feature_names = ("c", "a", "b")

    def __init__(self, seed=0, names=("less", "more")):
        super().__init__(seed)
        self.x, self.y = self.x[:, [2, 0, 1]], np.where(self.y == "less", *names)


def test_other_data_are_in_the_order_of_the_run(world, directory):
    """Columns and classes are found by their names, also for data that are named by text; others are refused."""
    for file, table in {"t.csv": Table(), "u.csv": Other(), "v.csv": Other(names=("small", "more"))}.items():
        if world.rank == 0:
            rows = (",".join([*map(repr, map(float, row)), label]) for row, label in zip(table.x, table.y))
            text = "\n".join([",".join([*table.feature_names, "y"]), *rows])
            (directory / file).write_text(text + "\n")
    world.barrier()
    trainer = Trainer("mlp:widths=8", f"csv:{directory / 't.csv'},target=y", world=world, epochs=5, progress="none",
                      out=str(directory / "run"))  # fmt: skip
    result = trainer.fit()
    same = Trainer.load(directory / "run", data=f"csv:{directory / 'u.csv'}", world=world)
    assert same.evaluate() == pytest.approx(result.test)
    assert Trainer.load(directory / "run", data=Other(), world=world).evaluate() == pytest.approx(result.test)
    for data in (f"csv:{directory / 'v.csv'}", Other(names=("small", "more"))):
        with pytest.raises(AgreedError, match="a class that the model does not know: 'small'"):
            Trainer.load(directory / "run", data=data, world=world)
    with pytest.raises(AgreedError, match="does not hold this model"):
        Trainer.load(directory / "run", model="mlp:widths=9", world=world)
