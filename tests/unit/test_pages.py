"""The page about runs: what is on it, that it is sound HTML, and that no run directory brings it down."""

import copy
import dataclasses
import itertools
import json
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mpitrain.cli.main import main
from mpitrain.config import Config
from mpitrain.pages.page import page
from mpitrain.pages.run import Run, open_run, open_runs
from mpitrain.pages.terminal import view
from tests.run_files import END, EXAMPLES, NOTE, PIXEL, REPORT, START, evaluation, lines, metrics, write_run

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Checker(HTMLParser):
    """Reads a page, and refuses elements that are not closed in their order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.texts, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def check(text):
    """Check a whole page for what browsers, screen readers and a machine without a network need."""
    made = Checker(text)
    assert text.startswith("<!DOCTYPE html>")
    assert made.all("html")[0]["lang"] == "en"
    assert [tag for tag in ("script", "link", "iframe", "base", "form", "object") if made.all(tag)] == []
    assert not re.search(r"(?:https?:)?//|@import|url\(", re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text))
    levels = [int(tag[1]) for tag, _ in made.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for attributes in made.all("svg"):
        names = attributes.get("aria-labelledby", "").split()
        assert attributes.get("aria-hidden") == "true" or (names and set(names) <= set(made.ids))
    assert all(attributes.get("scope") in ("col", "row") for attributes in made.all("th"))
    assert text.count("<table") == text.count("<caption>")
    assert all(image["alt"] and PIXEL[:22] in image["src"] for image in made.all("img"))
    return made


def test_everything_is_on_the_page(tmp_path):
    config = dataclasses.replace(Config(), data=dataclasses.replace(Config().data, batch_size=8))
    run = open_run(write_run(tmp_path / "first", config=config))
    made = check(page([run]))
    headings = [tag for tag, _ in made.found if tag == "h2"]
    assert len(headings) == 11
    for words in (
        "Ended: all steps are done.",
        "loss 0.1, accuracy 90.00% best",  # of the last test, before the row of the best
        "accuracy 90.00% (test, after step 30)",
        "1 min 15 s",
        "Settings other than the defaults, given or found value data.batch_size 8 All settings",
        "Slowest: rank 2, whose own work took 1.4 times",
        "Other shares of a batch made steps 12% shorter.",
        "Schedule 1f1b, predicted idle time 18% of a step.",
        "algorithm ring messages a step 8 bytes a step 150 KiB buckets 2 reason ring from 64 KiB",
        "1 ring 4 98 KiB 2 tree 4 52 KiB",
        "1 step skipped: their loss or gradient was not finite.",
        "7 the loss is nan",
        "21 2 2",  # the lost rank
        "started on 3 ranks",
        "ended: all steps are done",
        "step-000000030.safetensors first 2.0 KiB",
        "first 2 0 1.5 ms 2.0 ms",
        "cat 20 5 80%",
        "<dog> 1 24 96%",
        "row 3: cat, predicted <dog> (90%); loss 2.5",
        "a first 0-1 4 Fast 3 b first 2 8 Fast 4",
        "Slurm job 17",
        "mpitrain -n 3 --data 'csv:my file.csv'",
        f"mpitrain -n 3 --config {tmp_path}/first/config.toml --out NEW",
        "10 1 0.2 80.00% 0.3 70.00% 0.4 60.00% 1,000",
    ):
        assert words in made.text, words
    assert [image["src"] for image in made.all("img")] == [PIXEL]  # that of another host is left out
    assert "test: from 0.4 in step 10 to 0.1 in step 40." in made.text


def test_runs_are_compared(tmp_path):
    config = Config()
    other = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=0.5))
    write_run(tmp_path / "a"), write_run(tmp_path / "b", config=other, steps=20, examples=None)
    made = check(page([open_run(tmp_path / "a"), open_run(tmp_path / "b")]))
    between = made.text.partition("Settings that differ")[2].partition("All settings")[0]
    assert between.split() == ["A", "B", "optimizer.lr", "\u2013", "0.5"]
    assert (
        "A, test: from 0.4 in step 10 to 0.1 in step 40. B, train: from 0.2 in step 10 to 0.1 in step 20." in made.text
    )
    assert "a, b" not in made.text
    assert "a and b" in made.text


def test_runs_of_one_name_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [write_run(Path(place)) for place in ("a/run", "b/run", "c/other")]
    assert [run.name for run in open_runs([*paths, paths[0]])] == ["a/run", "b/run", "other"]


def test_a_resumed_run_does_not_show_its_old_report(tmp_path):
    from mpitrain.training.directory.ownership import Ownership

    path = write_run(tmp_path / "run", steps=30)
    with Ownership("one") as owner:
        owner.take(path)
        made = check(page([open_run(path)]))
    assert "steps 30 epochs 3 so far" in made.text
    assert "rank 0 70% 5% 5% 20%" in made.text
    assert "rank 2" not in made.text.partition("Time of each rank")[2].partition("Stages of")[0]


def test_names_are_no_markup(tmp_path):
    name = "<script>alert('1')</script>&\x1b[31m\u202e\"x"
    path = write_run(tmp_path / name.replace("/", ":"))
    odd = copy.deepcopy(EXAMPLES)
    odd["worst"][0] |= {"class": name, "image": "data:image/png;base64,AA==' onerror='x"}
    for one in ({**REPORT, "class_names": [name, "\ud800"], "slowest": name, "all_reduce": name}, odd):
        (path / ("report.json" if "steps" in one else "examples.json")).write_text(json.dumps(one))
    (path / "events.jsonl").write_text(lines([{**START, "command": name, "folder": name}, {**NOTE, "text": name}, END]))
    made = check(page([open_run(path)]))
    assert made.all("script") == []
    assert not any(key.startswith("on") for _, attributes in made.found for key in attributes)
    assert made.text.count("<script>alert('1')</script>&\\x1b[31m\\u202e\"x") > 5
    page([open_run(path)]).encode()


def broken(value, rng):
    """Return a JSON value of which something was replaced by something else."""
    if rng.random() < 0.15:
        return rng.choice([None, -1, 10**400, 1e308, True, "", "x" * 50, [], {}, [[1]], {"a": []}, -0.5])
    if isinstance(value, dict):
        return {key: broken(one, rng) for key, one in value.items() if rng.random() > 0.05}
    if isinstance(value, list):
        return [broken(one, rng) for one in value]
    return value


def test_no_damage_brings_the_page_down(tmp_path):
    """Files of other versions, or with values that make no sense: what is not what it should be is left out."""
    path = write_run(tmp_path / "run")
    for seed in range(60):
        rng = random.Random(seed)
        (path / "report.json").write_text(json.dumps(broken(REPORT, rng)))
        (path / "examples.json").write_text(json.dumps(broken(EXAMPLES, rng)))
        (path / "events.jsonl").write_text(lines([broken(one, rng) for one in (START, NOTE, END)]))
        (path / "metrics.jsonl").write_text(lines([broken(one, rng) for one in metrics()]))
        run = open_run(path)
        check(page([run]))
        assert all(len(line) <= 80 for line in view(run, 80))


def test_what_is_missing_is_said(tmp_path):
    path = write_run(tmp_path / "run", report=None, examples=None, events=[START])
    with open(path / "metrics.jsonl", "ab") as file:
        file.write(b'no json\n[1]\n{"kind": "step", "step": "x"}\n{"kind": "step", "st')
    run = open_run(path)
    assert run.state.kind == "unknown"
    assert run.problems == [
        "There is no report.json: it is written at the end of a run.",
        "3 lines are left out of metrics.jsonl: no whole record.",
        "The last line of metrics.jsonl is cut off.",
    ]
    made = check(page([run]))
    assert all(problem in made.text for problem in run.problems)
    (path / "report.json").write_bytes(b"\xff{")
    (path / "config.toml").write_text("[data")
    (path / "metrics.jsonl").write_text("")
    run = open_run(path)
    assert "report.json cannot be read: it is damaged." in run.problems
    assert "config.toml cannot be read: it is damaged." in run.problems
    assert "metrics.jsonl has no steps yet." in run.problems
    check(page([run]))


def test_a_run_that_grows_is_read_on(tmp_path):
    path = tmp_path / "run"
    run = Run(path)
    assert run.update()
    assert run.state == ("waiting", "There is no such directory now.")
    assert not run.update()
    write_run(path, report=None, examples=None, events=[START], steps=9)
    assert run.update()
    assert (run.steps.last, run.evaluations) == (9, [])
    whole = (json.dumps(evaluation(10)) + "\n").encode()
    with open(path / "metrics.jsonl", "ab", buffering=0) as file:
        file.write(whole[:20])
        run.update()
        assert run.evaluations == []
        file.write(whole[20:])
    assert run.update()
    assert [e.step for e in run.evaluations] == [10]
    assert not run.update()
    (path / "new").write_text(lines(metrics(5)))  # as a resume does: another file of the same name
    (path / "new").replace(path / "metrics.jsonl")
    assert run.update()
    assert (run.steps.last, run.evaluations) == (5, [])
    for file in [*path.glob("*/*"), *path.glob("*.*")]:
        file.unlink()
    (path / "checkpoints").rmdir(), path.rmdir()
    assert run.update()
    assert run.state.kind == "waiting"
    assert (run.steps.last, run.events, run.config, run.checkpoints) == (0, [], {}, [])


def test_how_a_run_has_ended(tmp_path):
    failed = {**END, "reason": "the loss is not finite", "failed": True}
    for events, state in (
        ([START, END], ("ended", "Ended: all steps are done.")),
        ([START, failed], ("failed", "Failed: the loss is not finite.")),
        ([START, failed, {**START, "step": 20}], ("unknown", "It has not written how it ended")),
    ):
        run = open_run(write_run(tmp_path / state[0], events=events, report=None))
        assert run.state.kind == state[0]
        assert run.state.text.startswith(state[1])
    assert open_run(write_run(tmp_path / "older", events=[])).state == ("ended", "Ended.")


def test_the_owner_tells_whether_a_run_lives(tmp_path):
    from mpitrain.training.directory.ownership import Ownership

    path = write_run(tmp_path / "run", report=None)
    owner = Ownership("one")
    owner.take(path)
    assert open_run(path).state.text.startswith("Running: a run on ")
    file = next(path.glob("owner-*.json"))
    left = json.loads(file.read_text())
    owner.release()
    file.write_text(json.dumps({**left, "started": left["started"] - 1}))
    assert open_run(path).state.text.startswith("Killed: a run on ")
    file.write_text(json.dumps({**left, "host": "elsewhere", "boot": "another"}))
    assert open_run(path).state.text.startswith("Running: a run on elsewhere")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "report needs the directory of a run: mpitrain report RUN [RUN ...] -o FILE.html"),
        (["none"], "there is no run none"),
        (["empty"], "empty is no run directory: it has neither config.toml nor metrics.jsonl"),
        (["file"], "file is no run directory: it is a file"),
        (["run", "-o", "page.pdf"], "-o is page.pdf, but must end in .html"),
        (["run", "-o", "file/page.html"], "cannot write file/page.html: "),
        (["run", "-o", "dir.html"], "cannot write dir.html: it is a directory"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    (tmp_path / "empty").mkdir(), (tmp_path / "dir.html").mkdir(), (tmp_path / "file").write_text("")
    assert main(["report", *argv]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mpitrain: {message}")
    assert err.count("\n") == 1


def test_a_database_among_the_runs_is_passed_over(tmp_path, monkeypatch, capsys):
    """The shell finds it with runs/*, where --monitor sqlite has put it."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    (tmp_path / "runs.sqlite").write_bytes(b"SQLite format 3")
    assert main(["report", "run", "runs.sqlite", "-o", "page.html"]) == 0
    assert main(["report", "runs.sqlite"]) == 2
    assert "report needs the directory of a run" in capsys.readouterr().err


WITHOUT = """
import sys
sys.modules["mpi4py.MPI"] = None
from mpitrain.cli.main import main
code = main(["report", "run", "-o", "page.html"]) or main(["watch", "run", "--terminal"])
assert "mpi4py.MPI" not in sys.modules or sys.modules["mpi4py.MPI"] is None
sys.exit(code)
"""


def test_no_mpi_is_needed(tmp_path):
    write_run(tmp_path / "run")
    ran = subprocess.run([sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("page.html: open it in a browser\nstep 10 epoch 1 ")
    assert ran.stdout.endswith("run: Ended: all steps are done.\n")
    check((tmp_path / "page.html").read_text("utf-8"))
