"""The database of runs: what SQLite itself reads in it, resumed runs, many writers, and locks."""

import contextlib
import json
import multiprocessing
import os
import sqlite3
from types import SimpleNamespace

import numpy as np
import pytest

import mpitrain as mt
from mpitrain.config import Config, Parallel
from mpitrain.errors import UserError
from mpitrain.monitor import sqlite as monitor_module
from mpitrain.monitor.base import Pace
from mpitrain.monitor.database import SCHEMA, TABLES, on_network, open_database
from mpitrain.monitor.sqlite import SQLite

SETTINGS = {"epochs": 3, "batch_size": 360, "progress": "none"}  # 4 steps an epoch


def train(file, resume=False, **settings):
    settings = {"monitor": f"sqlite:file={file}", **SETTINGS, **settings}
    return mt.Trainer("mlp:widths=8", "digits", **settings).fit(resume=resume)


def read(file, query, *values):
    with contextlib.closing(sqlite3.connect(file)) as database:
        return database.execute(query, values).fetchall()


def test_a_run_is_in_the_database(tmp_path):
    file, out = tmp_path / "runs.sqlite", tmp_path / "first"
    result = train(file, out=str(out), validation=100, checkpoint_every="5")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [(line["step"], line["epoch"], line["loss"], line["lr"], 0) for line in lines if line["kind"] == "step"]
    assert read(file, "SELECT step, epoch, loss, lr, local FROM steps") == steps
    (run,) = read(file, "SELECT id, name, path, state, reason, ranks, data, metric, step, epoch, steps FROM runs")
    assert run == (1, "first", str(out), "finished", None, 1, "digits", "accuracy", result.steps, 3, result.steps)
    for evaluation in result.evaluations:
        for split in ("train", "validation", "test"):
            scores = read(file, "SELECT name, value FROM scores WHERE step = ? AND split = ?", evaluation.step, split)
            assert dict(scores) == getattr(evaluation, split)
        (times,) = read(file, "SELECT compute, input, waiting, sync FROM times WHERE step = ?", evaluation.step)
        assert times == tuple(vars(evaluation.times).values())
    speeds = [(one.step, one.epoch, one.lr, one.samples_per_second) for one in result.evaluations]
    assert read(file, "SELECT step, epoch, lr, samples_per_second FROM epochs") == speeds
    settings = {name: json.loads(value) for name, value in read(file, "SELECT name, value FROM settings")}
    assert (settings["batch-size"], settings["validation"], settings["widths"]) == (360, 100.0, [128])
    changed = {name for (name,) in read(file, "SELECT name FROM settings WHERE is_default = 0")}
    assert {"batch-size", "epochs", "validation", "out"} <= changed
    assert not changed & {"seed", "task", "accumulate"}
    assert [step for (step,) in read(file, "SELECT step FROM checkpoints")] == [5, 10, result.steps]
    assert read(file, "PRAGMA journal_mode") == [("wal",)]


def test_skipped_steps_and_notes_are_faults(tmp_path):
    class Spoil(mt.Hook):
        def step_begin(self, info):
            if info.step == 2:
                self.kept = info.arena.parameters[0].data.copy()
                info.arena.parameters[0].data[...] = np.nan
            elif info.step == 3:
                info.arena.parameters[0].data[...] = self.kept
                info.note("a note")

    file = tmp_path / "runs.sqlite"
    monitor = f"sqlite:file={file}"
    trainer = mt.Trainer("mlp:widths=8", "digits", monitor=monitor, hooks=[Spoil], non_finite="skip", **SETTINGS)
    trainer.fit()
    faults = read(file, "SELECT step, kind, text FROM faults ORDER BY at, kind")
    assert [(step, kind) for step, kind, _ in faults] == [(2, "skipped"), (2, "note")]
    assert faults[0][2].startswith("the loss became nan")
    assert faults[1][2] == "a note"
    assert [step for (step,) in read(file, "SELECT step FROM steps")] == [1, *range(3, 13)]


def test_a_failed_run_says_why(tmp_path):
    class Fail(mt.Hook):
        def step_end(self, info):
            if info.step == 6:
                raise KeyError("lost")

    file = tmp_path / "runs.sqlite"
    trainer = mt.Trainer("mlp:widths=8", "digits", monitor=f"sqlite:file={file}", hooks=[Fail], **SETTINGS)
    with pytest.raises(mt.HookError):
        trainer.fit()
    ((state, reason, step),) = read(file, "SELECT state, reason, step FROM runs")
    assert (state, step) == ("failed", 6)
    assert "the hook Fail failed in step_end, step 6: KeyError: 'lost'" in reason
    assert read(file, "SELECT kind FROM faults") == [("exception",)]
    assert read(file, "SELECT max(step) FROM steps") == [(5,)]  # monitors come after the hook that fails


def test_a_resumed_run_continues_its_row(tmp_path):
    """From a checkpoint before the last rows, in a directory that was moved."""

    class Look(mt.Hook):
        def step_begin(self, info):
            self.seen = getattr(self, "seen", None) or [step for (step,) in read(file, "SELECT step FROM steps")]

    look = Look()
    file, out, moved = tmp_path / "runs.sqlite", tmp_path / "first", tmp_path / "moved"
    train(file, out=str(out), checkpoint_every="5", keep_checkpoints=9)
    (out / "checkpoints" / "step-000000012.safetensors").unlink()
    (out / "report.json").unlink()
    out.rename(moved)
    result = train(file, resume=True, out=str(moved), hooks=[look])
    assert look.seen == list(range(1, 11))  # what comes again is gone from the beginning
    assert read(file, "SELECT id, path, state, step FROM runs") == [(1, str(moved), "finished", 12)]
    for table, steps in (("steps", range(1, 13)), ("epochs", [4, 8, 12]), ("checkpoints", [5, 10])):
        assert [step for (step,) in read(file, f"SELECT step FROM {table}")] == list(steps), table
    last = read(file, "SELECT value FROM scores WHERE step = 12 AND split = 'test' AND name = 'loss'")
    assert last == [(result.test["loss"],)]
    assert read(file, "SELECT count(*) FROM runs") == [(1,)]


def stand_in(number):
    """Return what the monitor reads of a run, and of a step of it."""
    length = SimpleNamespace(last_epoch=1, total_steps=300)
    setup = SimpleNamespace(num_parameters=1, dataset=SimpleNamespace(name="digits"))
    world = SimpleNamespace(size=1, mpi_version="none")
    run = SimpleNamespace(
        step=0, path=None, length=length, setup=setup, world=world, devices=["cpu"], losses=[], config=Config(),
        scoring=SimpleNamespace(metric="accuracy", larger_is_better=True), results=SimpleNamespace(last_step=0),
        display=SimpleNamespace(on_note=[]), preempted=False, stopped=False, finished="",
    )  # fmt: skip
    return lambda step: SimpleNamespace(
        run=run, step=step, epoch=1, loss=number + step, lr=0.1, local=False, skipped="", result=None
    )


def write_a_run(file, number, steps):
    """Write a run in many small transactions."""
    monitor, info = SQLite(str(file)), stand_in(number)
    monitor.check(False)
    monitor.train_begin(info(0))
    for step in range(1, steps + 1):
        monitor.step_end(info(step))
        if step % 10 == 0:
            monitor._flush(info(step))
    monitor.train_end(info(steps))


def test_many_processes_write_at_once(tmp_path):
    """None of them loses a row, from the making of the database on."""
    file, steps, count = tmp_path / "new" / "runs.sqlite", 200, 6
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_a_run, args=(file, 1000 * k, steps)) for k in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert read(file, "SELECT count(*), count(DISTINCT key) FROM runs WHERE state = 'finished'") == [(count, count)]
    assert read(file, "SELECT count(*), count(DISTINCT loss) FROM steps") == [(count * steps, count * steps)]
    per_run = read(file, "SELECT min(loss - step), max(loss - step), max(step) FROM steps GROUP BY run")
    assert all(least == most for least, most, _ in per_run)  # no row went to another run
    assert sorted(least for least, _, _ in per_run) == [1000.0 * k for k in range(count)]


def test_rows_wait_for_a_locked_database(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor_module, "WAIT_SECONDS", 0.05)
    file, info = tmp_path / "runs.sqlite", stand_in(0)
    monitor = SQLite(str(file))
    monitor.train_begin(info(0))
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monitor.step_end(info(1))
    with pytest.raises(UserError, match=r"cannot use .*runs\.sqlite: database is locked"):
        monitor.checkpoint_begin(info(1))
    assert not monitor._pace.is_due  # the next attempt comes much later, and not with each step
    monitor.step_end(info(2))
    other.execute("ROLLBACK")
    other.close()
    monitor.train_end(info(2))
    assert read(file, "SELECT step FROM steps") == [(1,), (2,)]


def test_a_run_that_is_deleted_meanwhile_begins_a_new_row(tmp_path):
    file, info = tmp_path / "runs.sqlite", stand_in(0)
    monitor = SQLite(str(file))
    monitor.train_begin(info(0))
    monitor.step_end(info(1))
    monitor.checkpoint_begin(info(1))
    with contextlib.closing(open_database(file)) as connection:
        connection.execute("DELETE FROM runs")
    monitor.step_end(info(2))
    monitor.train_end(info(2))
    assert read(file, "SELECT id, state, step FROM runs") == [(2, "finished", 2)]
    assert read(file, "SELECT run, step FROM steps") == [(2, 2)]
    assert read(file, "SELECT count(*) > 50 FROM settings WHERE run = 2") == [(1,)]


def test_no_rank_times_out_while_a_writer_is_waited_for():
    def patience(timeout):
        config = Config(parallel=Parallel(timeout=timeout))
        return monitor_module._patience(SimpleNamespace(config=config), monitor_module.LAST_WAIT_SECONDS)

    assert [patience(timeout) for timeout in (120.0, 10.0, 0.0)] == [15.0, 2.5, 15.0]


def test_rows_that_never_can_be_written_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor_module, "MOST_ROWS", 10)
    info, monitor = stand_in(0), SQLite(str(tmp_path / "runs.sqlite"))
    monitor.train_begin(info(0))
    for step in range(1, 31):
        monitor.step_end(info(step))
    monitor.train_end(info(30))
    assert [step for (step,) in read(tmp_path / "runs.sqlite", "SELECT step FROM steps")] == list(range(21, 31))


def test_steps_are_not_written_one_by_one(tmp_path):
    info, monitor = stand_in(0), SQLite(str(tmp_path / "runs.sqlite"), every=10)
    monitor.train_begin(info(0))
    for step in range(1, 51):
        monitor.step_end(info(step))
    assert read(tmp_path / "runs.sqlite", "SELECT count(*) FROM steps") == [(0,)]
    monitor.train_end(info(50))
    assert read(tmp_path / "runs.sqlite", "SELECT step FROM steps") == [(10,), (20,), (30,), (40,), (50,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no database" * 100, "file is not a database"),
        ("newer", "was written by a newer version of mpitrain"),
    ],
)
def test_files_that_are_no_database_of_runs(tmp_path, content, message):
    file = tmp_path / "runs.sqlite"
    if content == "newer":
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA user_version = 99")
            database.execute("CREATE TABLE x (y)")
            database.commit()
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_database(file)


def test_reading_makes_no_database(tmp_path):
    with pytest.raises(UserError, match=r"there is no database of runs .*: train --monitor sqlite makes one"):
        open_database(tmp_path / "runs.sqlite", make=False)
    (tmp_path / "runs.sqlite").touch()
    with pytest.raises(UserError, match="is not a database of runs"):
        open_database(tmp_path / "runs.sqlite", make=False)
    assert os.path.getsize(tmp_path / "runs.sqlite") == 0


def test_the_journal_of_a_network_file_system(tmp_path):
    mounts = tmp_path / "mounts"
    lines = ["/dev/sda1 / ext4 rw 0 0", "server:/home /home nfs4 rw 0 0", "/dev/sdb1 /home/local xfs rw 0 0"]
    mounts.write_text("\n".join([*lines, "nodev /my\\040share cifs rw 0 0"]))
    assert on_network(tmp_path.__class__("/home/me/runs/runs.sqlite"), mounts)
    assert on_network(tmp_path.__class__("/my share/runs.sqlite"), mounts)
    assert not on_network(tmp_path.__class__("/home/local/runs.sqlite"), mounts)
    assert not on_network(tmp_path.__class__("/homework/runs.sqlite"), mounts)
    assert not on_network(tmp_path / "runs.sqlite", tmp_path / "nothing")
    file = tmp_path / "runs.sqlite"
    for journal in ("delete", "wal", "delete"):
        connection = open_database(file, journal)
        assert connection.execute("PRAGMA journal_mode").fetchone() == (journal,)
        connection.close()


def test_the_tables_that_are_documented():
    assert all(f"CREATE TABLE IF NOT EXISTS {table} (" in SCHEMA for table in ("runs", *TABLES))
    assert isinstance(Pace().is_due, bool)
