"""Language models: equal losses on any number of ranks, with windows, microbatches and fewer samples than ranks."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.errors import AgreedError
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.prepare import prepare
from mpitrain.training.scoring.evaluation import make_evaluator
from mpitrain.training.setup import open_setup, resolved

pytestmark = pytest.mark.mpi

WORDS = ["the cat", "sat on", "a mat", "and the dog", "ran to", "a tree"]


@pytest.fixture
def novel(directory, world):
    rng = np.random.default_rng(2)
    if world.rank == 0:
        (directory / "novel.txt").write_text(". ".join(WORDS[k] for k in rng.integers(0, 6, 300)))
    world.all_gather(0)  # it is there on all ranks from here on
    return directory / "novel.txt"


def config_for(path, **changes):
    given = {"source": f"text:{path},window=16", "batch_tokens": 512, "validation": 0.1}
    data = Data(**(given | changes))
    return Config(
        data=data,
        model=Model(name="gpt:depth=1,width=16,heads=2,dropout=0.1"),
        optimizer=Optimizer(name="adam", lr=0.01, accumulate=3, clip_norm=1.0),
        run=Run(epochs=2, metrics="top5"),
    )


def train(config, world):
    setup = open_setup(config, world)
    loop = make_loop(resolved(config, setup), setup, world, Silent(None, 1))
    loop.train()
    loop.run.data_parallel.free()
    return loop


def scores(loop):
    return [[*r.train.values(), *r.validation.values(), *r.test.values()] for r in loop.run.results.evaluations]


@pytest.mark.parametrize("batch", [{"batch_tokens": 512}, {"batch_tokens": 0, "batch_size": 7}, {"batch_tokens": 1}])
def test_losses_on_any_number_of_ranks(world, alone, novel, batch):
    config = config_for(novel, **batch)
    if batch == {"batch_tokens": 1}:  # a window a step: all ranks but one have nothing
        config = dataclasses.replace(config, run=Run(steps=9, evaluate_every="5", metrics="top5"))
    one, all_ranks = train(config, alone), train(config, world)
    np.testing.assert_allclose(scores(all_ranks), scores(one), rtol=2e-4, atol=1e-4)
    found = one.run.results.evaluations[-1]
    assert list(found.test) == ["loss", "perplexity", "bits_per_byte", "accuracy", "top5"]
    assert found.test["perplexity"] == pytest.approx(np.exp(found.test["loss"]))
    assert found.test["bits_per_byte"] >= found.test["loss"] / np.log(2)  # the end of text is no byte
    if len(one.run.results.evaluations) > 1:
        assert found.train["loss"] < one.run.results.evaluations[0].train["loss"]


@pytest.mark.parametrize("batch", [{"batch_tokens": 400}, {"batch_tokens": 1}])
def test_hidden_tokens_on_any_number_of_ranks(world, alone, novel, batch):
    """With a step of one window, whose ranks but one have nothing, and of which some have no hidden token."""
    config = config_for(novel, source=f"text:{novel},window=16,mask=0.1", **batch)
    config = dataclasses.replace(config, model=Model(name="bert:depth=1,width=16,heads=2,dropout=0.1"))
    if batch == {"batch_tokens": 1}:
        config = dataclasses.replace(config, run=Run(steps=30, evaluate_every="15", metrics="top5"))
    one, all_ranks = train(config, alone), train(config, world)
    np.testing.assert_allclose(scores(all_ranks), scores(one), rtol=2e-4, atol=1e-4)
    assert list(one.run.results.evaluations[-1].test) == ["loss", "perplexity", "accuracy", "top5"]
    weights = [sum((b.y >= 0).sum() for b in step) for step in one.run.loader.epoch(1)]
    assert 0 in weights or batch["batch_tokens"] > 1


def test_to_the_bit_with_virtual_shards(world, alone, novel):
    config = config_for(novel)
    config = dataclasses.replace(
        config, parallel=Parallel(reproducible=8), optimizer=dataclasses.replace(config.optimizer, accumulate=0)
    )
    if world.size & (world.size - 1):
        pytest.skip("shards are a power of two")
    one, all_ranks = train(config, alone), train(config, world)
    values = [loop.run.setup.arena.values for loop in (one, all_ranks)]
    np.testing.assert_array_equal(*values)


def test_the_weight_of_a_step_is_its_targets(world, novel):
    """The totals of an epoch count each token to predict once, on all ranks together."""
    config = config_for(novel)
    config = dataclasses.replace(config, run=Run(epochs=1, evaluate_every="100"))
    loop = train(config, world)
    stream = loop.run.setup.dataset.train.x.stream
    assert loop.run.results.evaluations[0].step == len(loop.run.loader)
    seen = []
    config = dataclasses.replace(config, run=Run(epochs=1))
    setup = open_setup(config, world)
    loop = make_loop(resolved(config, setup), setup, world, Silent(None, 1))
    step = loop._train_step
    loop._train_step = lambda batches: seen.append(step(batches)) or seen[-1]
    loop.train()
    loop.run.data_parallel.free()
    assert sum(totals.weight for totals in seen) == len(stream) - 1


def test_losses_of_rows(world, novel):
    loop = train(config_for(novel), world)
    test, evaluator = loop.run.setup.dataset.test, make_evaluator(loop.run.setup, world)
    losses, counts = evaluator.row_losses(test)
    assert counts.sum() == len(test.x.stream) - 1
    expected = loop.run.results.evaluations[-1].test["loss"]
    assert losses.sum() / counts.sum() == pytest.approx(expected, rel=1e-5)


def test_ranks_share_the_work_before(world, directory, monkeypatch):
    from mpitrain.data.text import encode

    monkeypatch.setenv("MPITRAIN_TOKENS", str(directory / "cache"))
    monkeypatch.setattr(encode, "QUICK", 0)
    if world.rank == 0:
        for k in range(5):
            (directory / f"{k}.txt").write_text(f"text number {k}" * 10)
    world.all_gather(0)
    monkeypatch.setattr(encode, "units_of", lambda pieces: [(piece,) for piece in pieces])
    done = []
    run = encode.Unit.run
    monkeypatch.setattr(encode.Unit, "run", lambda self: done.append(self.path) or run(self))
    prepare(world, f"text:{directory}/*.txt")
    everyone = [path for paths in world.all_gather(done) for path in paths]
    assert len(everyone) == len(set(everyone)) == 5
    assert len(list((directory / "cache").iterdir())) == 5


def test_text_that_is_damaged_on_one_rank(world, novel, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"abc" * 50 + (b"\xff" if world.rank == world.size - 1 else b"."))
    with pytest.raises(AgreedError, match="not UTF-8: byte 150 is 0xff"):
        open_setup(config_for(path), world)


def test_other_text_on_one_rank(world, tmp_path):
    if world.size == 1:
        pytest.skip("one rank is all of them")
    path = tmp_path / "mine.txt"
    path.write_text("abc" * 400 + str(world.rank == 1))
    with pytest.raises(AgreedError, match=r"all ranks must read the same data"):
        open_setup(config_for(path), world)


@pytest.fixture
def reviews(directory, world):
    rng = np.random.default_rng(3)
    if world.rank == 0:
        rows = [["review,label"]]
        for _ in range(200):
            label = rng.integers(0, 2)
            words = [*rng.choice(["it", "was", "a", "film"], rng.integers(1, 12)), ("bad", "good")[label]]
            rows.append([f"{' '.join(rng.permutation(words))},{('neg', 'pos')[label]}"])
        (directory / "reviews.csv").write_text("\n".join(row[0] for row in rows))
        (directory / "net.py").write_text(NET)
    world.all_gather(0)
    return directory


NET = '''
import numpy as np
from mpitrain.layers import Embedding, Layer, Linear, ReLU, Sequential


class SumOfVectors(Layer):
    """The sum of the vectors of all tokens; the padding has one too, so that its length would be seen."""

    def __init__(self, vocabulary):
        self.vectors = Embedding(vocabulary + 1, 8, std=0.3)
        self.needs_dx = False

    def children(self):
        yield "vectors", self.vectors

    def named_parameters(self, prefix=""):
        yield from self.vectors.named_parameters(prefix + "vectors.")

    def forward(self, x, ctx):
        ctx[self] = x.shape
        return np.ascontiguousarray(self.vectors.forward(x + 1, ctx).sum(axis=1))

    def backward(self, dy, ctx):
        n, length = ctx[self]
        return self.vectors.backward(np.ascontiguousarray(np.broadcast_to(dy[:, None], (n, length, 8))), ctx)


def net(input_shape, num_outputs, *, vocabulary: int = 0):
    return Sequential(SumOfVectors(vocabulary), Linear(8, 16), ReLU(), Linear(16, num_outputs))
'''


@pytest.mark.parametrize("batch", [{"batch_tokens": 600}, {"batch_size": 9}, {"batch_tokens": 1}])
def test_texts_with_classes_on_any_number_of_ranks(world, alone, reviews, batch):
    config = Config(
        data=Data(source=f"csv:{reviews}/reviews.csv,text=review,target=label,length=40", validation=0.1, **batch),
        model=Model(name=f"{reviews}/net.py:net"),
        optimizer=Optimizer(name="adam", lr=0.01, accumulate=2),
        run=Run(epochs=1 if batch == {"batch_tokens": 1} else 4, metrics="f1"),
    )
    one, all_ranks = train(config, alone), train(config, world)
    np.testing.assert_allclose(scores(all_ranks), scores(one), rtol=1e-3, atol=1e-4)
    losses = [result.train["loss"] for result in one.run.results.evaluations]
    assert len(losses) == config.run.epochs
    assert losses == sorted(losses, reverse=True)


def test_fine_tuning_on_any_number_of_ranks(world, alone, reviews):
    """A BERT on texts of several lengths: ranks share the update, and each step has the same loss as on one rank."""
    config = Config(
        data=Data(source=f"csv:{reviews}/reviews.csv,text=review,target=label,length=40", batch_size=9),
        model=Model(name="bert:depth=2,width=16,heads=2,window=48"),
        optimizer=Optimizer(name="adamw", lr=0.003, weight_decay=0.1, warmup=0.5, clip_norm=0.5),
        parallel=Parallel(shard="optimizer"),
        run=Run(epochs=4, evaluate_every="1"),
    )
    one, all_ranks = train(config, alone), train(config, world)
    np.testing.assert_allclose(scores(all_ranks), scores(one), rtol=1e-3, atol=1e-4)
    losses = [result.train["loss"] for result in one.run.results.evaluations]
    assert len(losses) == 4 * 18
    assert np.mean(losses[-18:]) < 0.8 * np.mean(losses[:18])
