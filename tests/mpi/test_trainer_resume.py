"""``Trainer(..., out=DIR)``: the files of a run, its owner, and ``fit(resume=True)``, which continues it to the bit."""

import secrets

import numpy as np
import pytest

from mpitrain import Hook, Linear, ReLU, Sequential, Trainer
from mpitrain.errors import AgreedError
from mpitrain.training.directory.ownership import Ownership
from tests.own_table import Table

pytestmark = pytest.mark.mpi

OPTIONS = {"epochs": 3, "progress": "none", "batch_size": 100, "optimizer": "adam", "lr": 0.01}
LAST_STEP = 45
ROWS = 90


class Preempt(Hook):
    """Ends the run with a checkpoint, as a batch system does; the last rank requests it."""

    def __init__(self, step):
        self._step = step

    def step_begin(self, info):
        if info.step == self._step and info.rank == info.group.size - 1:
            info.run.requests.preempt = True


def net(input_shape, num_outputs):
    return Sequential(Linear(input_shape[0], 8), ReLU(), Linear(8, num_outputs))


def scores(result):
    return [(each.epoch, each.step, each.train, each.test) for each in result.evaluations]


@pytest.mark.parametrize("step", [7, 15, 31])  # within the first epoch, at the end of one, and within the last
@pytest.mark.parametrize(("model", "data"), [("mlp:widths=16", "digits"), (net, Table(rows=ROWS))])
def test_a_run_is_continued_to_the_bit(world, directory, model, data, step):
    settings = OPTIONS | ({} if data == "digits" else {"batch_size": 5})
    whole = Trainer(model, data, world=world, **settings)
    expected = whole.fit()

    out = str(directory / "run")
    first = Trainer(model, data, world=world, out=out, hooks=[Preempt(step)], **settings).fit(resume=True)
    assert (first.steps, first.stopped) == (step, True)
    assert (first.best is None) == (not first.evaluations)
    world.barrier()  # rank 0 has given the directory free
    names = {path.name for path in (directory / "run").iterdir()}
    assert "report.json" not in names
    assert not any("owner" in name for name in names)
    with pytest.raises(AgreedError, match=r"holds an earlier run: continue it with fit\(resume=True\)"):
        Trainer(model, data, world=world, out=out, **settings).fit()

    trainer = Trainer(model, data, world=world, out=out, **settings)
    result = trainer.fit(resume=True)
    np.testing.assert_array_equal(trainer.setup.arena.values, whole.setup.arena.values)
    assert scores(result) == scores(expected)
    assert (result.steps, result.stopped) == (expected.steps, False)
    assert trainer.evaluate() == expected.test
    names = {path.name for path in (directory / "run").iterdir()}
    assert {"report.json", "curves.svg", "model.safetensors", "best.safetensors"} <= names
    world.barrier()
    with pytest.raises(AgreedError, match=r"run is finished: there is nothing to resume; Trainer\.load opens"):
        Trainer(model, data, world=world, out=out, **settings).fit(resume=True)


def test_more_epochs_follow(world, directory):
    out = str(directory / "run")
    settings = OPTIONS | {"schedule": "constant"}
    Trainer("mlp:widths=16", "digits", world=world, out=out, checkpoint_every=10, **settings).fit()
    more = Trainer("mlp:widths=16", "digits", world=world, out=out, **settings | {"epochs": 5})
    assert more.fit(resume=True).steps == 75
    whole = Trainer("mlp:widths=16", "digits", world=world, **settings | {"epochs": 5})
    whole.fit()
    np.testing.assert_array_equal(more.setup.arena.values, whole.setup.arena.values)


def test_columns_in_another_order(world, directory):
    """The data are brought into the order of the run, as ``--resume`` does."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((80, 2)).round(3)
    if world.rank == 0:
        for name, heads in (("old", "abt"), ("new", "bat")):
            columns = {"a": rows[:, 0], "b": rows[:, 1], "t": (rows @ [1.0, 2.0]).round(3)}
            lines = [",".join(heads), *(",".join(str(columns[head][i]) for head in heads) for i in range(80))]
            (directory / f"{name}.csv").write_text("\n".join(lines) + "\n")
    world.barrier()
    out, settings = str(directory / "run"), OPTIONS | {"batch_size": 10}
    whole = Trainer("mlp:widths=4", f"csv:{directory}/old.csv,target=t", world=world, **settings)
    whole.fit()
    settings["out"], data = out, f"csv:{directory}/old.csv,target=t"
    Trainer("mlp:widths=4", data, world=world, hooks=[Preempt(9)], **settings).fit()
    trainer = Trainer("mlp:widths=4", f"csv:{directory}/new.csv,target=t", world=world, **settings)
    trainer.fit(resume=True)
    np.testing.assert_array_equal(trainer.setup.arena.values, whole.setup.arena.values)


def test_other_settings_and_data_are_refused(world, directory):
    out = str(directory / "run")
    Trainer(net, Table(rows=ROWS), world=world, out=out, hooks=[Preempt(3)], **OPTIONS | {"batch_size": 5}).fit()
    with pytest.raises(AgreedError, match=r"--batch-size is 6, but .* was written with 5"):
        Trainer(net, Table(rows=ROWS), world=world, out=out, **OPTIONS | {"batch_size": 6}).fit(resume=True)
    other = Trainer(net, Table(seed=1, rows=ROWS), world=world, out=out, **OPTIONS | {"batch_size": 5})
    with pytest.raises(AgreedError, match="the data are not those"):
        other.fit(resume=True)
    assert other.fit(resume=True, allow_changed_data=True).steps > 3
    with pytest.raises(AgreedError, match="resume=True needs the directory of the run: give the trainer out="):
        Trainer(net, Table(rows=ROWS), world=world, **OPTIONS).fit(resume=True)


def test_a_directory_in_use_is_left_alone(world, directory):
    out = directory / "run"
    owner = Ownership(world.all_gather(secrets.token_hex(8))[0])
    if world.rank == 0:
        owner.take(out)
    world.barrier()
    trainer = Trainer("mlp:widths=16", "digits", world=world, out=str(out), **OPTIONS)
    for resume in (False, True):
        with pytest.raises(AgreedError, match="run is in use by a run on "):
            trainer.fit(resume=resume)
    world.barrier()
    assert [path.suffix for path in out.iterdir()] == [".json"]
    world.barrier()
    owner.release()
    world.barrier()
    assert trainer.fit(resume=True).steps == LAST_STEP


HOOK = """
import mpitrain

class Count(mpitrain.Hook):
    steps = 0

    def step_end(self, info):
        type(self).steps += 1
        self.last = info.step
"""


def test_load_keeps_hooks_that_are_named(world, directory):
    if world.rank == 0:
        (directory / "mine.py").write_text(HOOK)
    world.barrier()
    given = Preempt(10**6)
    settings = OPTIONS | {"hook": f"{directory}/mine.py:Count"}
    Trainer("mlp:widths=16", "digits", world=world, out=str(directory / "run"), **settings).fit()
    loaded = Trainer.load(directory / "run", world=world, hooks=[given])
    named, also = loaded._hooks
    assert also is given
    assert type(named).__name__ == "Count"
    loaded.fit()
    assert named.last == LAST_STEP
