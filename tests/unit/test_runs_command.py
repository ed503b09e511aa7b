"""``mpitrain runs``: list, show, compare, export and delete, on a database of real runs."""

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mpitrain as mt
from mpitrain.cli.main import main
from mpitrain.cli.runs.show import MOST_ROWS
from mpitrain.monitor.database import open_database
from mpitrain.monitor.runs import SILENT_SECONDS, read_runs, select


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with three runs and their database."""
    folder, before = tmp_path_factory.mktemp("made"), os.getcwd()
    os.chdir(folder)
    try:
        for name, more in (("a", {}), ("b", {"lr": 0.2, "validation": 100}), ("c", {"lr": 0.001, "epochs": 1})):
            settings = {"out": f"runs/{name}", "monitor": "sqlite", "batch_size": 360, "epochs": 3, "progress": "none"}
            mt.Trainer("mlp:widths=8", "digits", **settings | more).fit()
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def runs(made, tmp_path, monkeypatch, capsys):
    """Return (exit code, output, errors) of ``mpitrain runs ...`` in a copy of the folder."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.execute("UPDATE runs SET path = replace(path, ?, ?)", (str(made), str(tmp_path)))

    def run(*argv):
        code = main(["runs", *argv])
        return code, *capsys.readouterr()

    return run


def names(out):
    return [line.split()[1] for line in out.splitlines()[1:]]


def test_the_list(runs):
    code, out, _ = runs("list")
    assert code == 0
    head, *lines = out.splitlines()
    assert head.split() == ["id", "name", "state", "epoch", "step", "begun", "best"]
    assert [line.split()[:5] for line in lines] == [
        ["1", "a", "finished", "3", "12"],
        ["2", "b", "finished", "3", "12"],
        ["3", "c", "finished", "1", "4"],
    ]
    assert max(map(len, out.splitlines())) <= 80
    assert lines[0].split()[7] == "accuracy"
    assert names(runs("list", "--sort", "best", "--reverse")[1])[-1] == "c"
    assert names(runs("list", "--where", "state=fin*,lr<0.1,epochs!=1")[1]) == ["a"]
    assert names(runs("list", "--where", "validation=100")[1]) == ["b"]
    assert names(runs("list", "--limit", "2")[1]) == ["b", "c"]
    out = runs("list", "--columns", "id,name,lr,validation/accuracy")[1].splitlines()
    assert out[1].split() == ["1", "a", "0.05", "-"]
    records = json.loads(runs("list", "--json")[1])
    assert [record["lr"] for record in records] == [0.05, 0.2, 0.001]
    assert not {"key", "defaults", "settings"} & set(records[0])
    assert runs("list", "--where", "state=failed")[1] == "no run of runs/runs.sqlite fulfils the conditions\n"


def test_the_limit_is_that_of_the_order(runs):
    assert names(runs("list", "--sort", "lr", "--reverse", "--limit", "1")[1]) == ["b"]
    assert names(runs("list", "--limit", "2", "--reverse")[1]) == ["c", "b"]
    assert json.loads(runs("list", "--json", "--columns", "id,lr", "--limit", "1")[1]) == [{"id": 3, "lr": 0.001}]
    assert json.loads(runs("list", "--json", "--where", "state=failed")[1]) == []


def test_no_command_loads_mpi(runs):
    program = """
import sys
from mpitrain.cli.main import main
codes = [main(["runs", *words.split()]) for words in sys.argv[1:]]
print(codes, "mpi4py.MPI" in sys.modules)"""
    commands = ["list", "show a", "compare a b", "export a --format json", "delete a --yes --directory"]
    done = subprocess.run([sys.executable, "-c", program, *commands], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "[0, 0, 0, 0, 0] False")


def test_the_best_is_that_of_the_validation_samples(runs):
    records = {record["name"]: record for record in json.loads(runs("list", "--json")[1])}
    with sqlite3.connect("runs/runs.sqlite") as database:
        query = "SELECT step, value FROM scores WHERE run = 2 AND split = 'validation' AND name = 'accuracy'"
        scores = database.execute(query).fetchall()
    best = max(value for _, value in scores)
    assert records["b"]["best"] == best
    assert records["b"]["best/step"] == next(step for step, value in scores if value == best)
    assert records["a"]["best"] == max(records["a"]["best"], records["a"]["test/accuracy"])


@pytest.mark.parametrize("name", ["2", "b", "runs/b", "./runs/b"])
def test_a_run_by_any_of_its_names(runs, name):
    code, out, _ = runs("show", name)
    assert code == 0
    assert out.startswith("run 2, b, finished\n")
    assert "--lr          0.2" in out
    assert "12 of 12 steps in epoch 3" in out
    table = [line.split() for line in out.splitlines() if line.startswith("    ")]
    assert [row[0] for row in table] == ["1", "2", "3"]
    assert "--seed" not in out


def test_faults_and_checkpoints_are_shown(runs):
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.execute("INSERT INTO faults VALUES (1, 7, 0, 'skipped', 'the loss became nan')")
        database.execute("INSERT INTO checkpoints VALUES (1, 5, 'step-000000005.safetensors', 0)")
    out = runs("show", "a")[1]
    assert "   7  skipped  the loss became nan" in out
    assert "checkpoints after steps 5; none is kept" in out


def test_the_checkpoints_that_are_kept_are_named(runs, tmp_path):
    (tmp_path / "runs/a/checkpoints").mkdir()
    (tmp_path / "runs/a/checkpoints/9").touch()
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.executemany("INSERT INTO checkpoints VALUES (1, ?, ?, 0)", [(5, "5"), (9, "9")])
    assert "checkpoints after steps 5, 9; kept: 9\n" in runs("show", "a")[1]


def test_long_tables_are_shown_from_their_end(runs):
    with sqlite3.connect("runs/runs.sqlite") as database:
        rows = [(1, step, 0, "note", f"number {step}") for step in range(MOST_ROWS + 2)]
        database.executemany("INSERT INTO faults VALUES (?, ?, ?, ?, ?)", rows)
    out = runs("show", "a")[1]
    assert "number 1\n" not in out
    assert "number 2\n" in out
    assert "2 earlier faults not shown: mpitrain runs export 1 --table faults\n" in out
    assert len(runs("export", "1", "--table", "faults")[1].splitlines()) == MOST_ROWS + 3


def test_a_comparison_shows_what_differs(runs):
    out = runs("compare", "a", "b")[1]
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:] if line.strip()}
    assert rows["--lr"] == ["0.05", "0.2"]
    assert rows["--validation"] == ["0", "100"]
    assert rows["state"] == ["finished", "finished"]
    assert rows["validation/loss"][0] == "-"
    assert not {"--epochs", "--out"} & set(rows)
    found = json.loads(runs("compare", "a", "c", "--json")[1])
    assert found["settings"] == {"epochs": [3, 1], "lr": [0.05, 0.001]}
    assert found["results"]["step"] == [12, 4]
    assert runs("compare", "a", "a")[1].startswith("all settings are the same\n")


def test_export(runs, tmp_path):
    for table, count in (("runs", 3), ("evaluations", 7), ("steps", 28), ("times", 7), ("faults", 0)):
        code, out, _ = runs("export", "--table", table)
        assert code == 0
        assert len(list(csv.DictReader(io.StringIO(out)))) == count, table
    (row,) = csv.DictReader(io.StringIO(runs("export", "c")[1]))
    assert (row["name"], row["lr"], row["widths"]) == ("c", "0.001", "128")
    code, out, _ = runs("export", "a", "--format", "json", "-o", "a.json")
    assert (code, out) == (0, "")
    (run,) = json.loads((tmp_path / "a.json").read_text())
    assert [step["step"] for step in run["tables"]["steps"]] == list(range(1, 13))
    assert run["tables"]["evaluations"][-1]["test/loss"] == run["test/loss"]


def test_delete(runs, tmp_path, monkeypatch):
    code, _, err = runs("delete", "a")
    assert (code, err) == (
        2,
        "mpitrain: delete asks before it deletes, and there is no terminal to ask on: give --yes\n",
    )
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or "n")
    assert runs("delete", "a") == (1, "nothing is deleted\n", "")
    assert asked == ["delete a (1) from runs/runs.sqlite? [y/N] "]
    monkeypatch.setattr("builtins.input", lambda text: "y")
    assert runs("delete", "a") == (0, "deleted 1 run\n", "")
    assert (tmp_path / "runs" / "a" / "report.json").exists()
    assert names(runs("list")[1]) == ["b", "c"]
    code, out, _ = runs("delete", "b", "c", "--yes", "--directory")
    assert code == 0
    assert out.startswith("deleted 2 runs and ")
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == ["a"]
    with sqlite3.connect("runs/runs.sqlite") as database:
        for table in ("runs", "settings", "steps", "epochs", "scores", "times"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    assert runs("list")[1] == "runs/runs.sqlite has no runs\n"


def test_the_directory_of_another_run_is_not_deleted(runs, tmp_path):
    (tmp_path / "runs" / "b" / "run-id.json").write_text('{"id": "other", "path": ""}')
    code, _, err = runs("delete", "b", "-y", "--directory")
    assert code == 2
    assert err.endswith("holds another run than 2: it is not deleted\n")
    assert names(runs("list")[1]) == ["a", "b", "c"]


def test_a_directory_with_more_than_the_run_is_not_deleted(runs, tmp_path):
    """As of a run whose --out is the folder of others: the database is in it, too."""
    shutil.copy(tmp_path / "runs/a/run-id.json", tmp_path / "runs")
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.execute("UPDATE runs SET path = ? WHERE id = 1", (str(tmp_path / "runs"),))
    code, out, err = runs("delete", "1", "--yes", "--directory")
    assert (code, out) == (2, "")
    assert err == "mpitrain: runs is not deleted, since runs/runs.sqlite is in it\n"
    (tmp_path / "link").symlink_to(tmp_path / "runs/b")
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.execute("UPDATE runs SET path = ? WHERE id = 2", (str(tmp_path / "link"),))
    assert runs("delete", "2", "-y", "--directory")[2] == "mpitrain: link is a symbolic link: it is not deleted\n"
    assert names(runs("list")[1]) == ["a", "b", "c"]


def test_a_run_inside_of_another_is_deleted_with_it(runs, tmp_path):
    shutil.move(tmp_path / "runs/b", tmp_path / "runs/a/b")
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.execute("UPDATE runs SET path = ? WHERE id = 2", (str(tmp_path / "runs/a/b"),))
    assert runs("delete", "1", "-y", "--directory")[2].endswith("runs/a is not deleted, since runs/a/b is in it\n")
    assert runs("delete", "1", "2", "-y", "--directory") == (0, "deleted 2 runs and runs/a, runs/a/b\n", "")
    assert not (tmp_path / "runs/a").exists()


def test_a_run_that_is_resumed_during_the_question_is_not_deleted(runs, monkeypatch):
    def resume(_):
        with sqlite3.connect("runs/runs.sqlite") as database:
            database.execute("UPDATE runs SET state = 'running' WHERE id = 1")
        return "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", resume)
    assert runs("delete", "a", "b")[::2] == (2, "mpitrain: run 1, a, is still running: stop it first\n")
    assert names(runs("list")[1]) == ["a", "b", "c"]


def test_states_of_runs_that_have_ended_without_a_word(runs):
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.execute("UPDATE runs SET state = 'running'")
        old = time.time() - SILENT_SECONDS - 1
        owner = 'UPDATE runs SET owner = replace(owner, \'"boot": "\', \'"boot": "other\'), updated = ? WHERE id = ?'
        database.execute(owner, (old, 2))
        pid = json.loads(database.execute("SELECT owner FROM runs").fetchone()[0])["pid"]
        dead = "UPDATE runs SET owner = replace(owner, ?, '\"pid\": 999999999') WHERE id = 3"
        database.execute(dead, (f'"pid": {pid}',))
    states = {row.split()[1]: row.split()[2] for row in runs("list")[1].splitlines()[1:]}
    assert states == {"a": "running", "b": "silent", "c": "killed"}
    code, _, err = runs("delete", "a", "--yes")
    assert (code, err) == (2, "mpitrain: run 1, a, is still running: stop it first\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "d"], "there is no run 'd' in the database"),
        (["list", "--where", "nam=a"], "no run has 'nam' (did you mean 'name'?)"),
        (["list", "--sort", "bst"], "(did you mean 'best'?)"),
        (["list", "--columns", "id,test/acc"], "no run has 'test/acc'"),
        (["list", "--where", "lr"], "a condition is NAME=VALUE (or !=, <, <=, >, >=), not 'lr'"),
        (["list", "--limit", "-1"], "--limit is -1, but must be 0 or more"),
        (["compare", "a"], "compare needs two runs or more"),
        (["export", "--format", "json", "--table", "steps"], "--table is for CSV"),
        (["list", "--file", "no.sqlite"], "there is no database of runs no.sqlite"),
        (["list", "--file", "runs/a/config.toml"], "file is not a database"),
        (["export", "-o", "/dev/null/a.csv"], "/dev/null"),
    ],
)
def test_mistakes_are_one_sentence(runs, argv, message):
    code, out, err = runs(*argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_runs_of_one_name_are_told_apart(runs):
    with sqlite3.connect("runs/runs.sqlite") as database:
        database.execute("UPDATE runs SET name = 'a', path = '/elsewhere/a' WHERE id = 3")
    code, _, err = runs("show", "a")
    assert code == 2
    assert "there are 2 runs a: choose one by its id, 1, 3 (the last is 3)" in err
    assert runs("show", "runs/a")[0] == 0
    assert "a (1)" in runs("compare", "1", "3")[1]


def test_conditions_compare_numbers_as_numbers(runs):
    connection = open_database(Path("runs/runs.sqlite"), make=False)
    records = read_runs(connection)
    connection.close()
    for condition, found in (
        ("step>=12", [1, 2]),
        ("step>9", [1, 2]),  # as texts, 12 comes before 9
        ("lr=0.050", [1]),
        ("lr!=0.05", [2, 3]),
        ("nesterov=false", [1, 2, 3]),
        ("reason<3", []),
        ("id<=2 , epochs=3", [1, 2]),
        ("", [1, 2, 3]),
    ):
        assert [record["id"] for record in select(records, condition)] == found, condition
