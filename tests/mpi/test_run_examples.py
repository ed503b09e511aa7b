"""Examples and events of a run on real ranks: the same as on one rank, and as float64 says."""

import json

import numpy as np
import pytest

from mpitrain import Hook, Trainer
from mpitrain.errors import AgreedError
from mpitrain.layers import Linear, Sequential
from mpitrain.training.scoring import examples
from mpitrain.training.scoring.evaluation import make_evaluator
from mpitrain.training.scoring.examples import examine

pytestmark = pytest.mark.mpi

OPTIONS = {"epochs": 1, "progress": "none", "threads": 1}
LONG = "mlp:widths=" + "+".join(["12"] * 6)


class Examined(Hook):
    """Examine at the end of the training, and keep what is found with the parts it comes from."""

    def train_end(self, info):
        run = info.run
        self.data, self.evaluator = run.setup.dataset, make_evaluator(run.setup, run.world)
        self.facts, self.test = examine(self.evaluator, self.data, run.scoring), run.results.evaluations[-1].test
        if not self.data.vocabulary:
            self.outputs = run.scoring.readable(self.evaluator.all_outputs(self.data.test.x, self.data.num_outputs))
        self.rows = self.evaluator.row_losses(self.data.test) if self.data.vocabulary else None


def train(world, model, data, **options):
    found = Examined()
    Trainer(model, data, hooks=[found], world=world, **OPTIONS, **options).fit()
    return found


def softmax_losses(outputs, targets):
    outputs = outputs.astype(np.float64)
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    return -np.log(probabilities[np.arange(len(targets)), targets]), probabilities.max(axis=1)


@pytest.mark.parametrize("mesh", ["", "pipe"])
def test_images(world, mesh):
    if mesh and world.size > 6:
        pytest.skip("more ranks than layers")
    options = {"mesh": f"pipe={world.size}", "accumulate": 4, "batch_size": 64} if mesh else {}
    found = train(world, LONG, "digits", **options)
    targets, facts = found.data.test.y, found.facts
    losses, sure = softmax_losses(found.outputs, targets)
    predicted = found.outputs.argmax(axis=1)
    matrix = np.zeros((10, 10), int)
    np.add.at(matrix, (targets, predicted), 1)
    assert facts["confusion"] == matrix.tolist()
    assert matrix.trace() / 360 == pytest.approx(found.test["accuracy"])
    assert (facts["task"], facts["samples"], facts["examined"]) == ("classification", 360, 360)
    rows = [sample["row"] for sample in facts["worst"]]
    np.testing.assert_allclose([s["loss"] for s in facts["worst"]], np.sort(losses)[::-1][:16], rtol=1e-4)
    np.testing.assert_allclose([s["probability"] for s in facts["worst"]], sure[rows], rtol=1e-4)
    assert [s["class"] for s in facts["worst"]] == [str(k) for k in targets[rows]]
    assert [s["predicted"] for s in facts["worst"]] == [str(k) for k in predicted[rows]]
    assert all(s["image"].startswith("data:image/png;base64,") for s in facts["worst"])
    assert world.all_gather(facts) == [facts] * world.size


def test_a_table(world):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((203, 3))
    y = 100 + x @ [[1.0, 2.0], [2.0, 0.0], [0.0, 3.0]]
    found = train(world, Sequential(Linear(3, 2)), (x, y), batch_size=20)
    worst, data = found.facts["worst"], found.data
    assert len(worst) == min(16, len(data.test))
    shown = np.array([list(sample["features"].values()) for sample in worst])
    rows = [sample["row"] for sample in worst]
    np.testing.assert_allclose(shown, data.test.x[rows], rtol=1e-5)
    true, guess = (np.array([sample[key] for sample in worst]) for key in ("target", "predicted"))
    np.testing.assert_allclose(true, data.test.y[rows], rtol=1e-5)
    np.testing.assert_allclose(guess, found.outputs[rows], rtol=1e-5)
    expected = (((found.outputs - data.test.y) / data.test.y.std(axis=0)) ** 2).mean(axis=1)
    np.testing.assert_allclose([sample["loss"] for sample in worst], np.sort(expected)[::-1][:16], rtol=1e-5)


@pytest.fixture
def novel(world, directory):
    if world.rank == 0:
        words = ["to", "be", "or", "not", "two", "bees"]
        text = " ".join(np.random.default_rng(3).choice(words, 1500).tolist())
        (directory / "novel.txt").write_text(text)
    world.barrier()
    return directory / "novel.txt"


@pytest.mark.parametrize(("most", "mesh"), [(64, ""), (5, ""), (64, "pipe")])
def test_text(world, novel, monkeypatch, most, mesh):
    monkeypatch.setattr(examples, "MOST_WINDOWS", most)
    options = {"mesh": f"pipe={world.size}", "accumulate": 4} if mesh else {}
    model = f"gpt:depth={world.size if mesh else 1},width=16,heads=2"
    found = train(world, model, f"text:{novel},window=32", batch_size=8, **options)
    losses, counts = found.rows
    mean, facts = losses / counts, found.facts
    rows = examples.spread(len(mean), most)
    assert facts["examined"] == len(rows) <= most
    chosen = sorted(rows.tolist(), key=lambda row: -mean[row])[:16]
    assert [sample["row"] for sample in facts["worst"]] == chosen
    np.testing.assert_allclose([sample["loss"] for sample in facts["worst"]], mean[chosen], rtol=1e-4)
    text = novel.read_text()
    assert all(sample["text"] in text for sample in facts["worst"])
    assert "confusion" not in facts


def test_a_part_of_many_samples(world, monkeypatch):
    monkeypatch.setattr(examples, "MOST_SAMPLES", 50)
    found = train(world, LONG, "digits")
    assert (found.facts["examined"], np.sum(found.facts["confusion"])) == (50, 50)
    assert {sample["row"] for sample in found.facts["worst"]} <= set(examples.spread(360, 50).tolist())


def lines_of(directory):
    return [json.loads(line) for line in (directory / "run" / "events.jsonl").read_text().splitlines()]


def test_the_files_of_a_run(world, directory):
    Trainer(LONG, "digits", world=world, out=str(directory / "run"), **OPTIONS).fit()
    start, end = lines_of(directory)
    assert (start["kind"], start["step"], start["ranks"]) == ("start", 0, world.size)
    assert sorted(rank for host in start["hosts"] for rank in host["ranks"]) == list(range(world.size))
    assert set(start) >= {"command", "folder", "devices", "mpi", "versions", "time", "system"}
    assert (end["kind"], end["reason"], end["failed"]) == ("end", "all steps are done", False)
    report = json.loads((directory / "run" / "report.json").read_text())
    sums = {key: sum(one[key] for one in report["exchanges"]) for key in ("bytes", "messages")}
    if world.size > 1 and not report["sharded"]:
        assert sums["bytes"] == pytest.approx(report["bytes_per_step"], rel=0.5)
    assert json.loads((directory / "run" / "examples.json").read_text())["step"] == report["steps"]


class Unlucky(Hook):
    def step_end(self, info):
        if info.step == 3:
            info.note("a sign")
        if info.step == 5:
            raise AgreedError("bad luck")


def test_a_run_that_fails_says_why(world, directory):
    with pytest.raises(AgreedError, match="bad luck"):
        Trainer(LONG, "digits", hooks=[Unlucky()], world=world, out=str(directory / "run"), **OPTIONS).fit()
    world.barrier()
    _, note, end = lines_of(directory)
    assert (note["kind"], note["step"], note["text"]) == ("note", 3, "a sign")
    assert (end["step"], end["failed"]) == (5, True)
    assert "bad luck" in end["reason"]
