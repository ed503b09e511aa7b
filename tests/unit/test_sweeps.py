"""Sweeps without MPI: descriptions, points, folds, methods, and the journal."""

import json
import math
import os
import tomllib

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from mpitrain.data.draw import draw_fold
from mpitrain.errors import UserError
from mpitrain.sweeps import journal
from mpitrain.sweeps.asha import rungs
from mpitrain.sweeps.methods import make_method
from mpitrain.sweeps.parameters import Parameter
from mpitrain.sweeps.plan import config_of, order_of, plan
from mpitrain.sweeps.results import best_so_far, means_of, rows_of
from mpitrain.sweeps.spec import make_spec, read_spec
from mpitrain.sweeps.state import FAILED, FINISHED, INTERRUPTED, PAUSED, WAITING, SweepState
from mpitrain.sweeps.work import DONE, WAIT, Work
from mpitrain.training.trials.inherit import inherit


def spec_of(text):
    return make_spec(tomllib.loads(text), "s", text, "s.toml")


def sweep(method, more="", train="model = 'mlp'\nepochs = 9", parameters="lr = {min = 0.001, max = 1.0, log = true}"):
    return spec_of(f"[sweep]\nmethod = '{method}'\n{more}\n[train]\n{train}\n[parameters]\n{parameters}\n")


GRID = "[sweep]\nmethod = 'grid'\n"
WRONG = [
    ("[swep]\n", "unknown table: swep; did you mean 'sweep'?"),
    ("[sweep]\n", r"\[sweep\] needs a method"),
    ("[sweep]\nmethod = 'rndom'", "there is no method 'rndom'; did you mean 'random'?"),
    ("[sweep]\nmethod = 'grid'\ntrails = 3", r"unknown key in \[sweep\]: trails; did you mean 'trials'?"),
    ("[sweep]\nmethod = 'grid'\ntrials = 0", "trials .* must be at least 1"),
    ("[sweep]\nmethod = 'grid'\ntrials = 'x'", "must be a whole number"),
    ("[sweep]\nmethod = 'grid'\ntimeout = 'soon'", "is no time"),
    ("[sweep]\nmethod = 'grid'\ndirection = 'up'", "must be min or max"),
    ("[sweep]\nmethod = 'grid'\nreduction = 3", "reduction is for the method asha"),
    (GRID, "nothing to try"),
    (GRID + "[train]\nbach-size = 3", r"unknown option in \[train\]: bach_size; did you mean 'batch_size'?"),
    (GRID + "[train]\nout = 'x'", "out is no option for a sweep"),
    (GRID + "[parameters]\nlrr = [1]", "the parameter lrr is no option of train"),
    (GRID + "[parameters]\nlr = 1", "must be a list of values or a table"),
    (GRID + "[parameters]\nlr = []", "at least one value"),
    (GRID + "[parameters]\nlr = [0.1, 0.1]", "same value twice"),
    (GRID + "[parameters]\nlr = {mn = 1, max = 2}", "unknown key mn; did you mean 'min'?"),
    (GRID + "[parameters]\nlr = {min = 2.0, max = 1.0}", "must be below max"),
    (GRID + "[parameters]\nlr = {min = 0.0, max = 1.0, log = true}", "above 0 on a logarithmic scale"),
    (GRID + "[parameters]\nlr = {min = nan, max = 1.0}", "must be a number"),
    (GRID + "[parameters]\nlr = [1.0]\nmomentum = {values = [0.9], when = {optimizer = 'sgd'}}", "no parameter before"),
    (GRID + "cost = 'x'\n[parameters]\nlr = [1.0]", "cost is x, but must be a parameter"),
    (GRID + "kfold = 1\n[parameters]\nlr = [1.0]", "at least 2"),
    (GRID + "kfold = 3\n[train]\nvalidation = 0.1\n[parameters]\nlr = [1.0]", "leave validation out"),
    (GRID + "[train]\nmodel = 'mlp:widths={wdth}'\n[parameters]\nwidth = [3]", "no such parameter"),
    ("[sweep]\nmethod = 'random'\n[parameters]\nlr = [1.0]", "needs trials"),
    ("[sweep]\nmethod = 'asha'\ntrials = 3\nkfold = 2\n[parameters]\nlr = [1.0]", "do not go with the method asha"),
    ("[sweep]\nmethod = 'asha'\ntrials = 3\n[parameters]\nepochs = [1, 2]", "epochs does not go with it"),
    ("[sweep]\nmethod = 'asha'\ntrials = 3\nmin-epochs = 99\n[parameters]\nlr = [1.0]", "at most the epochs"),
    ("[sweep]\nmethod = 'pbt'\ntrials = 4\n[parameters]\nmodel = ['mlp']", "pbt cannot explore it"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_descriptions(text, message):
    with pytest.raises(UserError, match=message) as error:
        spec_of(text)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "cut.toml").write_text("[sweep\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("cut.toml", "binary.toml", "none.toml"):
        with pytest.raises(UserError, match=name):
            read_spec(tmp_path / name)


def test_a_grid_leaves_out_what_depends_on_others():
    parameters = "optimizer = ['sgd', 'adam']\nmomentum = {values = [0.0, 0.9], when = {optimizer = 'sgd'}}"
    trials = plan(sweep("grid", parameters=parameters))
    assert [dict(trial.values) for trial in trials] == [
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "adam"},
    ]


def test_grid_points_of_ranges():
    assert Parameter("lr", low=0.001, high=1.0, log=True, points=4).grid() == [0.001, 0.01, 0.1, 1.0]
    assert Parameter("n", low=1, high=3, integer=True, points=9).grid() == [1, 2, 3]
    with pytest.raises(UserError, match="points = N"):
        Parameter("lr", low=0.0, high=1.0).grid()


def test_a_part_of_a_text_is_no_option_of_its_own():
    """--dropout is an option of mlp, too, which a text with options refuses."""
    spec = sweep("grid", train="model = 'mlp:dropout={dropout}'", parameters="dropout = [0.25]\nlr = [0.5]")
    config = spec.config({"dropout": 0.25, "lr": 0.5})
    assert (config.model.name, config.model.dropout, config.optimizer.lr) == ("mlp:dropout=0.25", 0.0, 0.5)


def test_settings_of_trials():
    train = "model = 'mlp:dropout={d}'\nseed = 5"
    spec = sweep("grid", "kfold = 3\nseeds = 2", train, "d = [0.1]\nbatch-size = [32]\nwidths = [[8, 4]]")
    trials = plan(spec)
    assert [(trial.point, trial.seed, trial.fold) for trial in trials] == [
        (0, seed, fold) for seed in (0, 1) for fold in (1, 2, 3)
    ]
    config = config_of(spec, trials[-1])
    assert (config.model.name, config.data.batch_size, config.model.widths) == ("mlp:dropout=0.1", 32, (8, 4))
    assert (config.run.seed, config.data.fold, config.run.monitor) == (6, "3/3", "sqlite")


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 2**40))
def test_a_latin_hypercube_has_one_point_in_each_part(count, seed):
    note(f"{count} points, seed {seed}")
    parameters = "lr = {min = 0.0, max = 1.0}\nweight-decay = {min = 1.0, max = 3.0}"
    points = [
        trial.values for trial in plan(sweep("latin-hypercube", f"trials = {count}\nseed = {seed}", "", parameters))
    ]
    for name, low, size in (("lr", 0.0, 1.0), ("weight-decay", 1.0, 2.0)):
        places = sorted((point[name] - low) / size * count for point in points)
        rounding = 1e-4  # of values to the digits that are written
        assert all(part - rounding <= place <= part + 1 + rounding for part, place in enumerate(places)), places


def test_random_points_do_not_depend_on_how_many_there_are():
    few, many = (plan(sweep("random", f"trials = {count}\nseed = 4")) for count in (3, 9))
    assert few == many[:3]
    assert len({trial.values["lr"] for trial in many}) == 9
    assert all(0.001 <= trial.values["lr"] <= 1 for trial in many)
    assert plan(sweep("random", "trials = 3\nseed = 5")) != few


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 30), min_size=2, max_size=6), folds=st.integers(2, 7), seed=st.integers(0, 2**32))
def test_folds_have_each_sample_once_and_all_classes_alike(counts, folds, seed):
    note(f"counts {counts}, {folds} folds, seed {seed}")
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = [draw_fold(y, k, folds, "stratified", seed, 5) for k in range(folds)]
    inside = [rows for _, rows in parts]
    assert sorted(np.concatenate(inside).tolist()) == list(range(len(y)))
    for outside, rows in parts:
        assert sorted([*outside, *rows]) == list(range(len(y)))
    for kind in range(len(counts)):
        of_kind = [int((y[rows] == kind).sum()) for rows in inside]
        assert max(of_kind) - min(of_kind) <= 1
    sizes = [len(rows) for rows in inside]
    assert max(sizes) - min(sizes) <= 1


class Machine:
    """Runs a sweep on so many groups without training: each event at its time."""

    def __init__(self, spec, value, seconds=lambda trial, until: 1.0):
        self.spec, self.trials = spec, plan(spec)
        self.state = SweepState(len(self.trials), larger_is_better=spec.larger_is_better)
        self.decide, self.value, self.seconds = make_method(spec, self.trials), value, seconds
        self.epochs = spec.config(spec.first_values()).run.epochs
        self.log = [{"event": "open", "time": 0.0}]
        self.state.apply(self.log)

    def put(self, **event):
        self.log.append(event)
        self.state.apply([event])

    def run(self, groups, most=10_000):
        free, running, now = list(range(groups)), [], 0.0
        while len(self.log) < most:
            while free:
                work = self.decide(self.state)
                if not isinstance(work, Work):
                    break
                more = {"life": work.life, "parent": work.parent, "values": work.values} if work.parent >= 0 else {}
                self.put(event="start", trial=work.trial, rank=free[0], until=work.until, **more)
                running.append((now + self.seconds(work.trial, work.until), free.pop(0), work))
            if not running:
                assert work == DONE
                return now
            assert not free or work in (WAIT, DONE)
            running.sort(key=lambda one: one[:2])
            now, group, work = running.pop(0)
            self.end(work, now)
            free.append(group)
        raise AssertionError("the sweep does not end")

    def end(self, work, now):
        epoch = work.until or self.epochs
        value = self.value(work.trial, epoch)
        status = FAILED if value is None else PAUSED if work.until else FINISHED
        self.put(
            event="end", trial=work.trial, status=status, value=value, time=now, step=int(epoch), epoch=float(epoch)
        )


def test_rungs():
    assert rungs(1, 27, 3) == [1, 3, 9, 27]


@pytest.mark.parametrize("groups", [1, 3, 4, 11])
def test_asha_spends_its_time_on_the_best(groups):
    spec = sweep("asha", "trials = 27\nmetric = 'accuracy'\nreduction = 3")
    machine = Machine(spec, lambda trial, epoch: trial / 100 + epoch / 1000, lambda trial, until: until or 9.0)
    machine.run(groups)
    reached = {epoch: [t.number for t in machine.state.trials if epoch in t.reports] for epoch in (1.0, 3.0, 9.0)}
    assert len(reached[1.0]) == 27
    assert 26 in reached[9.0]  # the best
    assert len(reached[9.0]) >= 27 // 9
    assert machine.state.best().number == 26
    starts = sum(event["event"] == "start" for event in machine.log)
    assert starts == sum(map(len, reached.values()))  # no part of a trial is done twice


def test_asha_promotes_by_what_is_known():
    """The best of three trials at the first rung goes on before a fourth begins."""
    machine = Machine(sweep("asha", "trials = 9\nmetric = 'loss'\nreduction = 3"), None)
    works = []
    for value in (0.5, 0.2, 0.9):
        work = machine.decide(machine.state)
        machine.put(event="start", trial=work.trial, rank=0, until=work.until)
        machine.put(event="end", trial=work.trial, status=PAUSED, value=value, epoch=1.0, step=1)
        works.append(work)
    assert [(work.trial, work.until) for work in works] == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert machine.decide(machine.state) == Work(1, 3.0)


def test_pbt_replaces_the_worst_by_the_best():
    spec = sweep("pbt", "trials = 10\nmetric = 'accuracy'\ninterval = 3\nseed = 2")
    machine = Machine(spec, lambda trial, epoch: (trial + 1) / 100 + epoch / 1000)
    machine.run(4)
    state = machine.state
    assert all(trial.status == FINISHED for trial in state.trials)
    replaced = [trial for trial in state.trials if trial.life]
    assert replaced
    assert all(trial.parent > trial.number for trial in replaced)
    for trial in replaced:
        parent = machine.trials[trial.parent].values["lr"] if state.trials[trial.parent].values is None else None
        assert 0.001 <= trial.values["lr"] <= 1.0
        assert trial.values["lr"] != parent
    again = Machine(spec, machine.value)
    again.run(4)
    assert again.log == machine.log  # nothing but the log and the seed decides


def test_pbt_keeps_what_others_may_take_over():
    spec = sweep("pbt", "trials = 4", "checkpoint-every = '2'\nkeep-checkpoints = 1")
    found = spec.config(spec.first_values()).checkpoint
    assert (found.every, found.keep) == ("0", 4)


def test_a_run_inherits_a_checkpoint(tmp_path):
    checkpoints = tmp_path / "a" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step-000000004.safetensors").write_text("weights")
    (tmp_path / "a" / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "b" / "checkpoints").mkdir(parents=True)  # what an earlier attempt has left
    (tmp_path / "b" / "checkpoints" / "step-000000009.safetensors").write_text("old")
    assert not inherit(tmp_path / "a", 5, tmp_path / "b")
    assert inherit(tmp_path / "a", 4, tmp_path / "b")
    (checkpoints / "step-000000004.safetensors").unlink()
    found = sorted(str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*") if path.is_file())
    assert found == ["checkpoints/step-000000004.safetensors", "metrics.jsonl"]
    assert (tmp_path / "b" / "checkpoints" / "step-000000004.safetensors").read_text() == "weights"


def test_trials_of_a_killed_job_go_on_first_and_finished_ones_stay():
    spec = sweep("grid", parameters="lr = [0.1, 0.2, 0.3, 0.4]")
    machine = Machine(spec, None)
    machine.put(event="start", trial=0, rank=0)
    machine.put(event="end", trial=0, status=FINISHED, value=0.5)
    machine.put(event="start", trial=1, rank=0)
    machine.put(event="start", trial=2, rank=1)
    machine.put(event="open", time=1.0)
    assert [trial.status for trial in machine.state.trials] == [FINISHED, INTERRUPTED, INTERRUPTED, WAITING]
    assert machine.decide(machine.state) == Work(1)


def test_a_trial_that_ends_its_job_again_and_again_has_failed():
    machine = Machine(sweep("grid", parameters="lr = [0.1]"), None)
    for attempt in range(3):
        assert machine.state.trials[0].status in (WAITING, INTERRUPTED), attempt
        machine.put(event="start", trial=0, rank=0, step=0)
        machine.put(event="open", time=1.0)
    assert machine.state.trials[0].status == FAILED
    assert "3 jobs ended" in machine.state.trials[0].reason


def test_a_trial_that_gets_further_each_time_goes_on():
    machine = Machine(sweep("grid", parameters="lr = [0.1]"), None)
    for attempt in range(8):
        machine.put(event="start", trial=0, rank=0, step=10 * attempt)
        machine.put(event="open", time=1.0)
    assert machine.state.trials[0].status == INTERRUPTED


def test_long_trials_begin_first():
    spec = sweep("grid", train="", parameters="epochs = [1, 5, 3]\nlr = [0.1, 0.2]")
    assert order_of(spec, plan(spec)) == [2, 3, 4, 5, 0, 1]
    spec = sweep("grid", "cost = 'batch-size'", "", "batch-size = [8, 16, 4]")
    assert order_of(spec, plan(spec)) == [1, 0, 2]
    spec = sweep("grid", "", "", "lr = [0.3, 0.1]")
    assert order_of(spec, plan(spec)) == [0, 1]


def test_rows_and_means():
    spec = sweep("grid", "kfold = 2\nmetric = 'accuracy'", "", "lr = [0.1, 0.2]")
    machine = Machine(spec, lambda trial, epoch: [0.5, 0.7, 0.9, None][trial])
    machine.run(1)
    assert [row.trial.number for row in rows_of(machine.trials, machine.state)] == [2, 1, 0, 3]
    first, second = means_of(machine.trials, machine.state)
    assert (first.point, first.done, first.count) == (0, 2, 2)
    assert first.mean == pytest.approx(0.6)
    assert first.deviation == pytest.approx(0.2 / math.sqrt(2))
    assert (second.point, second.done, second.count) == (1, 1, 2)  # one fold failed: not comparable, so last
    assert [(value, number) for _, value, number in best_so_far(machine.trials, machine.state)] == [
        (0.5, 0),
        (0.7, 1),
        (0.9, 2),
    ]


def test_a_journal_that_was_cut_off_anywhere(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal.create(path, {"spec": "x"})
    head = path.stat().st_size
    kept = journal.Journal(path)
    events = [{"event": "start", "trial": n, "rank": 0} for n in range(3)]
    for event in events:
        kept.append(journal.encode(event))
    kept.close()
    whole = path.read_bytes()
    for length in range(head, len(whole) + 1):
        path.write_bytes(whole[:length])
        journal.repair(path)
        _, found = journal.read(path)
        assert found == events[: whole[:length].count(b"\n") - 1]
        more = journal.Journal(path)
        more.append(journal.encode({"event": "open", "time": 1.0}))
        more.close()
        assert journal.read(path)[1] == [*found, {"event": "open", "time": 1.0}]


@pytest.mark.parametrize("text", ["", "{}\n", '{"format": "mpitrain-sweep", "version": 9}\n', "x\n"])
def test_what_is_no_journal(tmp_path, text):
    path = tmp_path / "journal.jsonl"
    path.write_text(text)
    with pytest.raises(UserError):
        journal.read(path)


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal.create(path, {})
    with path.open("a") as file:
        file.write('{"event": "boo"}\n' + json.dumps({"event": "open", "time": 1}) + "\n")
    with pytest.raises(UserError, match="line 2"):
        journal.read(path)


def test_a_full_disk_is_one_sentence():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    full = journal.Journal(__import__("pathlib").Path("/dev/full"))
    with pytest.raises(UserError, match="No space left"):
        full.append(b"x\n")


def test_numbers_that_are_not_finite_come_back():
    line = journal.encode({"event": "end", "trial": 0, "value": math.inf})
    assert float(journal.decode(line)["value"]) == math.inf
