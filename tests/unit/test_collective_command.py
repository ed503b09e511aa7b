import json
import time
from pathlib import Path

import pytest

from mpitrain.cli.files import check_writable
from mpitrain.cli.main import main
from mpitrain.cli.progress import Progress
from mpitrain.collectives import user_schedule
from mpitrain.collectives.price import calibration_path
from mpitrain.errors import UserError

WRONG = """
from mpitrain.collectives import Step
from mpitrain.collectives.all_reduce import ring

def short(rank, size):
    yield from list(ring(rank, size))[:-1]
"""


def run(capsys, *argv):
    code = main(["collective", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert "  pipelined_ring:segments=4  " in out
    assert "  all_gather/bruck  " in out
    code, out, _ = run(capsys, "list", "all_reduce", "--costs", 8)
    assert out.splitlines()[1].split()[:4] == ["ring", "14", "rounds", "1.750"]
    assert "bruck" not in out


def test_show(capsys):
    code, out, _ = run(capsys, "show", "ring", "-n", 2)
    assert code == 0
    assert "Patarasuk & Yuan 2009" in out
    assert "2 rounds; the busiest rank sends 1 n and adds 0.5 n" in out
    assert "round 2" in out


def test_check(capsys):
    code, out, _ = run(capsys, "check", "chain:segments=2", "--max-ranks", 5)
    assert code == 0
    assert out.startswith("chain:segments=2: checked for P <= 5\n")
    assert out.splitlines()[-1].split() == ["5", "10", "2.000", "1.000"]


def test_check_of_a_wrong_one(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(WRONG)
    code, out, err = run(capsys, "check", f"{tmp_path}/mine.py:short")
    assert (code, out) == (2, "")
    assert err == (
        f"mpitrain: {tmp_path}/mine.py:short is wrong for P = 2: rank 0 ends without rank 1's contribution in "
        "chunk 0 (never received)\n"
    )
    code, out, _ = run(capsys, "show", f"{tmp_path}/mine.py:short", "-n", 3)
    assert code == 1
    assert "wrong: " in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["frob"], "there is no collective command 'frob'; there are list, show, check"),
        (["list", "frob"], "there is no collective 'frob'"),
        (["check", "frob"], "there is no all-reduce 'frob'"),
        (["check", "ring", "--max-ranks", "0"], "--max-ranks is 0"),
        (["show", "ring", "-n", "0"], "-n is 0"),
    ],
)
def test_mistakes(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err


def test_help(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert out.startswith("usage: mpitrain collective COMMAND [OPTIONS]\n")
    assert "  show " in out


HALF = """
from mpitrain.collectives import Step

def half(rank, size):
    if rank:
        yield Step(send_to=0, send=range(size))
    for peer in range(1, size) if rank == 0 else ():
        yield Step(recv_from=peer, recv=range(size), reduce=True)
"""
WHY = "P = 2: rank 1 ends without rank 0's contribution in chunk 0 (never received)"


def test_a_price_of_a_wrong_one_is_marked(capsys, tmp_path):
    name = f"{tmp_path}/half.py:half"
    (tmp_path / "half.py").write_text(HALF)
    code, out, err = run(capsys, "price", name, "flat", "-n", 16, "--bytes", "1MiB")
    assert code == 1
    assert err == f"mpitrain: a price says nothing: {name} is wrong for {WHY}\n"
    assert [line.split()[-1] for line in out.splitlines() if " half.py" in line or ":half" in line] == ["WRONG"]
    assert "flat" in out
    code, out, _ = run(capsys, "price", name, "flat", "-n", 16, "--bytes", "1MiB", "--json")
    assert code == 1
    assert [row["wrong"] for row in json.loads(out)] == [WHY, ""]


def test_a_page_of_a_wrong_one_says_so_in_the_terminal(capsys, tmp_path):
    (tmp_path / "half.py").write_text(HALF)
    page = tmp_path / "page.html"
    code, out, err = run(capsys, "draw", f"{tmp_path}/half.py:half", "-n", 4, "--max-ranks", 4, "-o", page)
    assert (code, out) == (1, f"{page}: open it in a browser\n")
    assert err == f"mpitrain: drawn up to its mistake: {tmp_path}/half.py:half is wrong for {WHY}\n"
    assert page.exists()


def test_show_of_many_ranks_is_a_few_steps(capsys, tmp_path):
    begin = time.process_time()
    code, out, err = run(capsys, "show", "ring", "-n", 100_000)
    assert (code, err) == (0, "")
    assert "ring, 100,000 ranks, 100,000 chunks: too many for tables; the first steps of three ranks" in out
    assert "rank 99999\n  chunk 99999 to 0, +chunk 99998 from 99998\n" in out
    (tmp_path / "half.py").write_text(HALF)
    code, out, err = run(capsys, "show", f"{tmp_path}/half.py:half", "-n", 2000)
    assert code == 1
    assert WHY in err
    assert time.process_time() - begin < 10


def test_a_diagram_of_too_many_ranks_is_refused_at_once(capsys, tmp_path):
    code, _, err = run(capsys, "draw", "ring", "-n", 5000, "-o", tmp_path / "ring.svg")
    assert code == 2
    assert "ring with 5,000 ranks and 5,000 chunks is too large to be drawn" in err


@pytest.mark.parametrize(("text", "num_bytes"), [("64KiB", 65536), ("64K", 65536), ("64kB", 64000), ("65536", 65536)])
def test_sizes(capsys, tmp_path, text, num_bytes):
    code, out, _ = run(capsys, "price", "ring", "--bytes", text, "--json")
    assert (code, json.loads(out)[0]["num_bytes"]) == (0, num_bytes)
    page = tmp_path / "page.html"
    assert run(capsys, "draw", "ring", "--max-ranks", 8, "--bytes", text, "-o", page)[0] == 0
    assert f'"num_bytes":{num_bytes}}}' in page.read_text()


def test_all_algorithms_are_priced_and_what_is_left_out_is_named(capsys, monkeypatch):
    monkeypatch.setattr("mpitrain.cli.collective.price.QUICK_STEPS", 3000)
    code, out, err = run(capsys, "price", "-n", 100, "--bytes", "1MiB")
    assert code == 0
    assert "double_tree:segments=32" not in out
    assert "left out, as too slow to price: " in err
    assert "double_tree:segments=32" in err


def test_what_cannot_be_written_is_found_out(tmp_path):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new" / "file.json")
    assert (tmp_path / "new").is_dir()
    check_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""
    check_writable(None)
    for path in (tmp_path / "file" / "x.json", tmp_path, "/proc/nohome/x.json"):
        with pytest.raises(UserError, match="cannot write "):
            check_writable(Path(path))


def test_progress_goes_to_standard_error_and_not_too_often(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mpitrain.cli.progress.time.monotonic", lambda: now[0])
    progress = Progress("collective tune")
    progress.begin("40 passes", 40)
    for _ in range(40):
        now[0] += 1.0
        progress.step()
    progress.end()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[:3] == [
        "collective tune: 40 passes",
        "collective tune: 40 passes: 12%, 35 s left",
        "collective tune: 40 passes: 25%, 30 s left",
    ]
    assert len(err.splitlines()) == 8
    Progress("collective tune", speaks=False).begin("40 passes", 40)
    assert capsys.readouterr().err == ""


def test_one_home_less(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MPITRAIN_CALIBRATION", raising=False)

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert calibration_path("a", "b", 2).name == "calibration-a-b-2.json"


def test_a_table_keeps_to_the_units_that_were_asked_for(capsys):
    _, out, _ = run(capsys, "price", "ring", "-n", 8, "--bytes", "1MB", "1MiB")
    rows = [line.split() for line in out.splitlines() if " ring " in line]
    assert [(row[0:2], row[-3:-1]) for row in rows] == [(["1", "MB"], ["1.8", "MB"]), (["1", "MiB"], ["1.8", "MiB"])]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["price", "-n", 100_000], ["draw", "-o", "x.html"], ["show", "-n", 5000]])
@pytest.mark.parametrize("body", ["pass", "yield Step()"])
def test_what_never_ends_is_told_once_and_soon(capsys, tmp_path, monkeypatch, command, body):
    monkeypatch.setattr(user_schedule, "SECONDS", 0.3)
    monkeypatch.chdir(tmp_path)
    loop = f"def loop(rank, size):\n    while size > 1:\n        {body}\n    yield Step()\n"
    (tmp_path / "loop.py").write_text(f"from mpitrain.collectives import Step\n{loop}")
    begin = time.monotonic()
    code, out, err = run(capsys, command[0], "loop.py:loop", *command[1:])
    assert (code, out) == (2, "") or command[0] == "show"
    assert err.startswith("mpitrain: loop.py:loop is wrong for P = 2: rank 0 of 2")
    assert err.count("\n") == 1
    assert "does the loop there end" in err
    assert time.monotonic() - begin < 15
