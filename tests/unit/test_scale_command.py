"""``mpitrain scale``: its options, its processes with stand-ins for mpirun, and its files."""

import csv
import html.parser
import io
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import pytest

from mpitrain.cli.main import main
from mpitrain.cli.scale import processes
from mpitrain.cli.scale.files import FIELDS, write_study
from mpitrain.cli.scale.options import ScaleOptions
from mpitrain.cli.scale.processes import Launcher, reason_in, run_together
from mpitrain.cli.scale.tables import print_study, sentences_of
from mpitrain.cli.scale.worker import why_unpriced
from mpitrain.collectives.price import load_calibration
from mpitrain.comm.watch.slot import process_state
from mpitrain.config import Config, Parallel
from mpitrain.errors import UserError

from ..scaling import made_study

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] == "0":  # a rank, in a session of its own, as MPICH's proxy starts it
    time.sleep(60)
else:
    children = [subprocess.Popen([sys.executable, __file__, "0"], start_new_session=True) for _ in "ab"]
    open(sys.argv[2], "w").write("".join(f"{child.pid}\\n" for child in children))
    time.sleep(60)
"""
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher has started this process."""
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def study():
    """A study whose serial fraction is 0.1, with a name that has to be escaped."""

    def step(n, samples):
        return 1e-3 * (0.1 + 0.9 / min(n, 4)) * samples / 64

    return made_study(step, drift=0.01, compare_threads=True, calibration=load_calibration())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ranks", "0"), "--ranks is '0', but must be numbers of ranks from 1, as in 1,2,4,8"),
        (
            ("--ranks", "1,128"),
            "--ranks has 128, more than the 64 samples of a step: ranks without samples say nothing",
        ),
        (("--ranks", "1,2", "--out", "run"), "--out does nothing in scale, which times steps and writes no run"),
        (("--ranks", "1,2", "--profile"), "--profile does nothing in scale"),
        (("--ranks", "1,2", "--monitor", "sqlite"), "--monitor does nothing in scale"),
        (("--ranks", "1,2", "--steps", "3"), "--steps is 3, but must be at least 4"),
        (("--ranks", "1,2", "--repeat", "0"), "--repeat is 0, but must be at least 1"),
        (("--ranks", "1,2", "--time", "soon"), "--time: 'soon' is no time: write 90s"),
        (("--ranks", "1,2", "--time", "0s"), "--time is 0s, but must be more than 0"),
        (("--ranks", "1,4", "--extrapolate", "4"), "--extrapolate is 4, but must be more than the 4 of --ranks"),
        (("--ranks", "1,2", "-o", "plot.pdf"), "-o plot.pdf must end in .csv, .svg or .html"),
        (("--ranks", "1,2", "-o", "/proc/none/a.csv"), "cannot write /proc/none/a.csv: "),
        (("--ranks", "1,2", "--calibration", "none.json"), "cannot read the calibration none.json: "),
        (("--ranks", "1,2", "--batch-size", "0"), "--batch-size is 0, but must be at least 1"),
    ],
)
def test_bad_options(capsys, monkeypatch, options, message):
    monkeypatch.setattr(processes.Launcher, "run", lambda *_: pytest.fail("a training was started"))
    assert main(["scale", *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mpitrain: {message}")
    assert err.count("\n") == 1


def test_it_starts_ranks_itself(capsys, monkeypatch):
    monkeypatch.setenv("MPI_LOCALNRANKS", "1")
    assert main(["scale", "--ranks", "1,2"]) == 2
    assert "scale starts the ranks itself: leave out mpirun, srun or -n before it" in capsys.readouterr().err


def test_every_process_is_ended_when_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 1.0)
    (tmp_path / "mpirun.py").write_text(STUBBORN)
    ranks = tmp_path / "ranks"
    line = [sys.executable, str(tmp_path / "mpirun.py"), "2", str(ranks)]
    assert run_together(line, os.environ, tmp_path / "errors", seconds=2.0) is None
    pids = [int(pid) for pid in ranks.read_text().split()]
    assert len(pids) == 2
    assert {process_state(pid) for pid in pids} <= {"", "Z", "X"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_process_is_ended_by_an_interrupt(tmp_path, number):
    (tmp_path / "mpirun.py").write_text(STUBBORN)
    ranks = tmp_path / "ranks"
    program = (
        "import os, signal, sys; from pathlib import Path; from mpitrain.cli.scale import processes as p\n"
        "p.GRACE = 1.0; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with p.interruptible():\n"
        "    p.run_together([sys.executable, *sys.argv[1:4]], os.environ, Path(sys.argv[4]), 60)\n"
    )
    arguments = [tmp_path / "mpirun.py", "2", ranks, tmp_path / "errors"]
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while time.monotonic() < until and not (ranks.exists() and ranks.read_text().count("\n") == 2):
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) != 0
    pids = [int(pid) for pid in ranks.read_text().split()]
    assert len(pids) == 2
    assert {process_state(pid) for pid in pids} <= {"", "Z", "X"}


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """Return a function that makes a Launcher whose mpirun is a shell script."""

    def made(script):
        path = tmp_path / "mpirun"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(processes, "find_launcher", lambda library, ranks: str(path))
        return Launcher("MPICH 5.0", 4)

    return made


def test_the_sentence_of_a_training_that_fails(launcher, tmp_path):
    errors = tmp_path / "errors"
    failing = launcher("echo noise >&2; echo 'mpitrain: no such data' >&2; echo 'rank 1: bye' >&2; exit 2")
    with pytest.raises(UserError, match=r"^the training on 2 ranks failed: no such data$"):
        failing.run(2, 1, [], errors, 20)
    with pytest.raises(UserError, match=r"^the training on 1 rank failed: its exit code is 7$"):
        launcher("exit 7").run(1, 1, [], errors, 20)
    with pytest.raises(UserError, match=r"took more than 0\.3 s, and was ended"):
        launcher("exec sleep 60").run(1, 1, [], errors, 0.3)
    errors.write_text("one\n\ntwo\nthree\nfour\n")
    assert reason_in(errors, 1) == "two / three / four"


def test_what_mpirun_is_told(launcher, tmp_path):
    errors = tmp_path / "errors"
    told = launcher('echo "$*"; env | grep binding_policy; exit 0')
    told.run(3, 1, ["a.toml", "b.json"], errors, 20)
    assert errors.read_text() == f"-n 3 {sys.executable} -m mpitrain.cli.scale.worker a.toml b.json\n"
    told.run(3, 2, [], errors, 20)
    assert errors.read_text().count("binding_policy=none") == 2  # for threads that share the cores of a rank


def test_exchanges_that_have_no_price():
    assert why_unpriced(Config()) == ""
    assert why_unpriced(Config(parallel=Parallel(all_reduce="ring"))) == ""
    for parallel in (Parallel(sync="local"), Parallel(compress="bf16"), Parallel(mesh="pipe=2")):
        assert "have no price" in why_unpriced(Config(parallel=parallel))


def test_tables_fit_80_columns(capsys, study):
    print_study(study, ScaleOptions())
    tables = capsys.readouterr().out.split("\n\n")
    rows = [line for table in tables[:-1] for line in table.splitlines()[1:]]
    assert max(map(len, rows)) <= 80
    assert [line.split()[0] for line in tables[0].splitlines()[2:]] == ["1", "2", "4", "8"]
    assert "Amdahl's law: serial fraction 10." in tables[-1]
    assert "fitted to 1, 2, 4 ranks, those with a core each" in tables[-1]
    assert any(sentence.startswith("8 ranks: they take turns on 4 cores") for sentence in sentences_of(study))


def test_csv(tmp_path, study):
    write_study(tmp_path / "a.csv", study, ScaleOptions(extrapolate=20))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert tuple(rows[0]) == FIELDS
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in ("measured", "threads", "Amdahl")}
    assert [row["ranks"] for row in by_kind["measured"]] == ["1", "2", "4", "8"]
    assert [row["ranks"] for row in by_kind["Amdahl"]] == ["16", "20"]
    assert [(row["ranks"], row["threads"]) for row in by_kind["threads"]] == [("1", "4"), ("2", "2"), ("4", "1")]
    for one, row in zip(study.scaling, by_kind["measured"], strict=True):
        assert float(row["seconds"]) == pytest.approx(one.parts.total)
        assert float(row["fastest"]) <= float(row["seconds"]) <= float(row["slowest"])
        assert float(row["speedup"]) == pytest.approx(study.speedup(one))
        parts = [float(row[name]) for name in ("compute", "input", "waiting", "messages")]
        assert sum(parts) == pytest.approx(float(row["seconds"]))
    assert by_kind["measured"][0]["predicted"] == by_kind["measured"][3]["predicted_messages"] == ""
    assert float(by_kind["measured"][1]["predicted_messages"]) > 0
    for row in by_kind["Amdahl"]:
        assert float(row["low"]) < float(row["speedup"]) < float(row["high"])


def test_svg(tmp_path, study):
    write_study(tmp_path / "a.svg", study, ScaleOptions())
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{name}title").text.startswith("Speed-up over the ranks: mlp on <made-up> data: strong scaling")
    assert "4 ranks: 3." in root.find(f"{name}desc").text
    circles = [circle for circle in root.iter(f"{name}circle") if circle.find(f"{name}title") is not None]
    assert [circle.get("class") for circle in circles] == ["measured"] * 4 + ["predicted"] * 3
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in circles]
    across = [x for x, _ in places[:4]]
    assert across[1] - across[0] == pytest.approx(across[3] - across[2], abs=0.2)  # doublings are equally far apart
    assert sorted(places[:4], key=lambda place: -place[1]) == places[:4]  # more ranks are faster
    assert {path.get("class") for path in root.iter(f"{name}path")} == {"ideal", "law", "band"}


class Page(html.parser.HTMLParser):
    """The tags, texts and attributes of a page, with a check that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.texts.append(text)


def test_html(tmp_path, study, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mpitrain", "scale", "--model", "mlp:widths=<1>"])
    write_study(tmp_path / "a.html", study, ScaleOptions())
    text = (tmp_path / "a.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    tags = [tag for tag, _ in page.seen]
    assert tags.count("table") == tags.count("caption") == 4
    assert tags.count("h1") == tags.count("svg") == 1
    scopes = {attributes.get("scope") for tag, attributes in page.seen if tag == "th"}
    assert scopes == {"row", "col"}
    assert ("html", {"lang": "en"}) in page.seen
    assert not any(key in attributes for _, attributes in page.seen for key in ("src", "href"))  # in one file
    joined = "".join(page.texts)
    assert "mpitrain scale --model 'mlp:widths=<1>'" in joined
    assert all(sentence in joined for sentence in sentences_of(study))


def test_a_study_without_a_law_is_written(tmp_path, capsys):
    slower = made_study(lambda n, samples: 1e-3 * n, ranks=(1, 2, 4))
    single = made_study(lambda n, samples: 1e-3, ranks=(2,))
    for found, said in ((slower, "does not hold"), (single, "no law is fitted to one number of ranks")):
        print_study(found, ScaleOptions())
        assert said in capsys.readouterr().out
        for name in ("a.csv", "a.svg", "a.html"):
            write_study(tmp_path / name, found, ScaleOptions())
        assert {row["kind"] for row in csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text()))} == {"measured"}
        ElementTree.parse(tmp_path / "a.svg")
