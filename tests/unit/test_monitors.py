"""Monitors as a whole: their names, their mistakes, and that what fails in one never ends a run."""

import contextlib
import errno
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))
import calls

import mpitrain as mt
from mpitrain.config import option_values
from mpitrain.errors import AgreedError
from mpitrain.monitor import registry
from mpitrain.monitor.base import Pace, changed_settings
from mpitrain.monitor.guard import Monitors
from mpitrain.monitor.run_id import find_run_id, stored_id

SETTINGS = {"epochs": 3, "batch_size": 360, "progress": "none"}  # 4 steps an epoch


def train(monitor, **settings):
    trainer = mt.Trainer("mlp:widths=8", "digits", monitor=monitor, **SETTINGS | settings)
    return trainer.fit()


def own(tmp_path, body, name="Own", base="mt.Monitor"):
    path = tmp_path / "own.py"
    path.write_text(f"import mpitrain as mt\n\n\nclass {name}({base}):\n{body}")
    return f"{path}:{name}"


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("tensorbord", "there is no monitor 'tensorbord'; did you mean 'tensorboard'? there are tensorboard, sqlite"),
        ("sqlite:fil=x", "the monitor 'sqlite' has no option 'fil'; did you mean 'file'?"),
        ("sqlite:journal=off", "the monitor 'sqlite': journal is 'off', but must be one of auto, wal, delete"),
        ("sqlite:every=0", "every is 0, but must be at least 1"),
        ("tensorboard:images=-1", "images is -1, but must be at least 0"),
        ("tensorboard", "the monitor tensorboard: there is no run directory to write into: give out="),
        ("tensorboard:dir=/dev/null/x", "the monitor tensorboard: cannot make the directory /dev/null/x: Not a"),
        ("sqlite:file=/dev/null/x.sqlite", "the monitor sqlite: /dev/null is not a directory"),
        ("nothing.py:Own", "nothing.py"),
    ],
)
def test_a_mistake_is_one_sentence_before_the_run(monitor, message):
    with pytest.raises(AgreedError) as error:
        train(monitor)
    assert error.value.code == 2
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(AgreedError, match=r"it needs the package tensorboardX: pip install 'mpitrain\[tensorboard\]'"):
        train("tensorboard", out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()  # the same command works once the package is there


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_place_that_must_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    for monitor in (f"sqlite:file={tmp_path}/x.sqlite", f"tensorboard:dir={tmp_path}"):
        with pytest.raises(AgreedError, match="cannot"):
            train(monitor)


def test_no_package_is_imported_without_its_monitor():
    program = "import sys, mpitrain; mpitrain.Trainer; print({'tensorboardX', 'PIL', 'sqlite3'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "set()\n"


def test_a_monitor_of_ones_own_sees_the_run(tmp_path):
    body = """    def __init__(self, where: str):
        self.where, self.lines = where, []

    def train_begin(self, info):
        self.lines.append(f"begin {info.step} {self.settings(info)['epochs']}")

    def step_end(self, info):
        self.lines.append(f"step {info.step}")

    def evaluate_end(self, info):
        self.lines.append(f"evaluated {info.step} {len(info.run.times_of_ranks)}")

    def train_end(self, info):
        open(self.where, "w").write(",".join(self.lines))
"""
    train(f"{own(tmp_path, body)}:where={tmp_path / 'log'}", epochs=1)
    assert (tmp_path / "log").read_text() == "begin 0 1,step 1,step 2,step 3,step 4,evaluated 4 1"


def test_a_monitor_sees_the_outputs_of_the_test_samples(tmp_path):
    body = f"""    def __init__(self):
        self.right, self.seen = 0, []

    def test_outputs(self, info, split, rows, outputs):
        self.seen += range(rows.start, rows.stop)
        self.right += int((outputs.argmax(axis=1) == split.y[rows]).sum())

    def evaluate_end(self, info):
        assert self.seen == list(range(360))
        assert self.right / 360 == info.result.test["accuracy"]
        self.right, self.seen = 0, []
        open({str(tmp_path / "log")!r}, "a").write("x")
"""
    train(own(tmp_path, body))
    assert (tmp_path / "log").read_text() == "xxx"


def test_a_plain_hook_serves_as_a_monitor(tmp_path, capfd):
    body = f"    def step_end(self, info):\n        open({str(tmp_path / 'log')!r}, 'a').write('x')\n"
    train(own(tmp_path, body, base="mt.Hook"), epochs=1)
    assert (tmp_path / "log").read_text() == "xxxx"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("event", ["step_end", "evaluate_end", "train_end", "epoch_begin", "test_outputs"])
def test_a_monitor_that_fails_is_left_out_after_one_line(tmp_path, capfd, event):
    body = f"    def {event}(self, info, *more):\n        if info.lr:\n            raise KeyError('gone')\n"
    result = train(own(tmp_path, body))
    assert result.steps == 12
    err = capfd.readouterr().err
    assert err == f"mpitrain: the monitor Own: KeyError: 'gone' (in {event}); training continues without it\n"


def test_a_monitor_that_cannot_write_is_called_again_after_one_line(tmp_path, capfd):
    log = tmp_path / "log"
    body = f"""    def step_end(self, info):
        open({str(log)!r}, "a").write("x")
        raise mt.UserError("no room")
"""
    assert train(own(tmp_path, body)).steps == 12
    assert log.read_text() == 12 * "x"
    assert capfd.readouterr().err == "mpitrain: the monitor Own: no room; training continues\n"


def test_a_monitor_that_cannot_begin_ends_the_run(tmp_path):
    body = "    def train_begin(self, info):\n        raise OSError('no server')\n"
    with pytest.raises(AgreedError, match="the monitor Own failed in train_begin: OSError: no server") as error:
        train(own(tmp_path, body))
    assert error.value.code == 2


def test_a_rank_that_becomes_the_first_takes_the_monitors_over():
    """After the loss of rank 0 (--elastic) the next one, which has not called them so far, continues."""

    class Log(mt.Monitor):
        events: ClassVar[list[tuple[str, int]]] = []

        def train_begin(self, info):
            self.events.append(("begin", info.step))

        def step_end(self, info):
            self.events.append(("step", info.step))

    def info(rank, step):
        world = SimpleNamespace(together=contextlib.nullcontext)
        return SimpleNamespace(rank=rank, step=step, run=SimpleNamespace(world=world))

    guard = Monitors([("Log", Log())])
    guard.train_begin(info(1, 0))
    guard.step_end(info(1, 1))
    guard.train_begin(info(0, 1))
    guard.step_end(info(0, 2))
    assert Log.events == [("begin", 1), ("step", 2)]


def test_weights_are_loaded_without_the_monitors_of_their_run(tmp_path):
    train(f"sqlite:file={tmp_path}/runs.sqlite,tensorboard", out=str(tmp_path / "run"), epochs=1)
    trainer = mt.Trainer.load(tmp_path / "run")
    assert trainer.config.run.monitor == ""
    assert trainer.fit().steps == 4


class FillDisk(mt.Hook):
    """Lets no file of this process grow beyond some bytes from step 3 on."""

    def __init__(self, most):
        self.most = most

    def step_end(self, info):
        if info.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def train_end(self, info):
        resource.setrlimit(resource.RLIMIT_FSIZE, 2 * resource.getrlimit(resource.RLIMIT_FSIZE)[1:])


@pytest.fixture
def hurry(monkeypatch):
    """Write after every step."""
    monkeypatch.setattr(Pace, "is_due", property(lambda self: True))


@pytest.fixture
def room():
    """Allow files of any size after the test."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name", ["sqlite", "tensorboard"])
def test_a_full_disk_costs_one_line_and_no_figure(tmp_path, capfd, hurry, room, name):
    """Once there is room again, everything that could not be written follows."""
    file, log = tmp_path / "runs.sqlite", tmp_path / "log"
    monitor = {"sqlite": f"sqlite:file={file}", "tensorboard": f"tensorboard:dir={log},images=0"}[name]
    trainer = mt.Trainer("mlp:widths=8", "digits", monitor=monitor, hooks=[FillDisk(600)], **SETTINGS)
    assert trainer.fit().steps == 12
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"mpitrain: the monitor {name}: cannot ")
    assert lines[0].endswith("; training continues")
    if name == "sqlite":
        with sqlite3.connect(file) as database:
            assert [step for (step,) in database.execute("SELECT step FROM steps")] == list(range(1, 13))
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(log))
        events.Reload()
        assert [event.step for event in events.Scalars("step/loss")] == list(range(1, 13))


@pytest.mark.parametrize("name", ["sqlite", "tensorboard"])
def test_a_file_that_is_removed_is_made_anew(tmp_path, capfd, hurry, name):
    class Remove(mt.Hook):
        def step_end(self, info):
            if info.step == 5:
                for path in tmp_path.glob("there/*"):
                    path.unlink()
                (tmp_path / "there").rmdir()

    place = tmp_path / "there"
    monitor = {"sqlite": f"sqlite:file={place}/runs.sqlite", "tensorboard": f"tensorboard:dir={place}"}[name]
    trainer = mt.Trainer("mlp:widths=8", "digits", monitor=monitor, hooks=[Remove], **SETTINGS)
    assert trainer.fit().steps == 12
    (line,) = capfd.readouterr().err.splitlines()
    assert "removed" in line
    if name == "sqlite":
        with sqlite3.connect(place / "runs.sqlite") as database:
            steps = [step for (step,) in database.execute("SELECT step FROM steps")]
            assert database.execute("SELECT state, step FROM runs").fetchall() == [("finished", 12)]
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(place))
        events.Reload()
        steps = [event.step for event in events.Scalars("step/loss")]
    assert steps == list(range(5, 13))  # the step in which it was removed is written after that


def test_the_id_of_a_run_stays_with_its_directory(tmp_path):
    first, moved, copied = tmp_path / "first", tmp_path / "moved", tmp_path / "copied"
    first.mkdir()
    key = find_run_id(first)
    assert find_run_id(first) == stored_id(first) == key
    first.rename(moved)
    assert find_run_id(moved) == key
    copied.mkdir()
    (copied / "run-id.json").write_bytes((moved / "run-id.json").read_bytes())
    other = find_run_id(copied)
    assert other != key
    assert (find_run_id(moved), find_run_id(copied)) == (key, other)
    (moved / "run-id.json").write_text("{")
    assert find_run_id(moved) not in (key, other)
    assert find_run_id(None) != find_run_id(None)


def test_pace_leaves_the_time_to_the_training(monkeypatch):
    now = 100.0
    monkeypatch.setattr("mpitrain.monitor.base.time.monotonic", lambda: now)
    pace = Pace(2.0)
    assert not pace.is_due
    now = 102.0
    assert pace.is_due
    with pace.work():
        now += 0.05  # of 10 s
    now += 9.9
    assert not pace.is_due
    now += 0.2
    assert pace.is_due
    with pytest.raises(OSError, match="full"), pace.work():
        raise OSError(errno.ENOSPC, "full")
    now += 29
    assert not pace.is_due
    now += 2
    assert pace.is_due


def test_settings_that_were_resolved_are_not_changes():
    resolved = mt.Trainer("mlp", "digits", progress="none", epochs=3).config
    settings = {name.removeprefix("--"): value for name, value in option_values(resolved)}
    assert settings["lr"] == 0.05
    assert set(changed_settings(settings)) == {"model", "epochs", "progress"}
    assert "lr" in changed_settings(settings | {"optimizer": "adam"})


def test_monitors_add_few_calls_to_a_step(tmp_path):
    monitor = f"sqlite:file={tmp_path}/runs.sqlite,tensorboard:dir={tmp_path}/log"
    assert len(calls.count_calls(monitor=monitor)) <= calls.MOST + 20


def test_all_monitors_have_a_line_of_help():
    for name, _, line in registry.MONITORS.rows():
        assert line.endswith("."), name
    assert Path(registry.__file__).name == "registry.py"
