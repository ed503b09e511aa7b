"""``mpitrain data check``: every column, and what looks doubtful; files that training refuses as well."""

import os
import pty
import subprocess
import sys

import numpy as np
import pytest

from mpitrain.cli.main import main


@pytest.fixture
def check(capsys, tmp_path, monkeypatch):
    """Return a function that checks a table with this content, or a source, and gives the code, output and error."""
    monkeypatch.chdir(tmp_path)

    def run(content, options="", source="", arguments=()):
        if content is not None:
            (tmp_path / "table.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        code = main(["data", "check", source or f"csv:table.csv{options}", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


GOOD = "id,a,flag,kind\n" + "".join(f"{k + 7},{k / 4},{k % 2 == 0},{'pq'[k % 3 > 0]}\n" for k in range(24))


def lines_of(out, name):
    return [line for line in out.splitlines() if line.startswith(name)]


def test_columns(check):
    code, out, _ = check(GOOD, ",target=kind")
    assert code == 0
    assert out.splitlines()[0] == "table.csv: separated by commas, UTF-8; 24 rows, 4 columns"
    assert " ".join(lines_of(out, "id ")[0].split()) == "id integer 7 to 30, mean 18.5; such as 7, 8, 9"
    assert " ".join(lines_of(out, "a ")[0].split()) == "a number 0 to 5.75, mean 2.875; such as 0.0, 0.25, 0.5"
    assert "flag" in out
    assert "boolean" in out
    assert "text, target" in out
    assert "2 distinct: 'q' 16, 'p' 8" in out
    assert "! column 'id' holds another integer in every row: an id?" in out
    assert "table: classification of kind" in out
    assert "x (19, 3)" in out
    assert "p             6         2" in out.replace("  ", "  ")


def test_a_word_in_text_is_no_missing_value(check):
    _, out, _ = check("t,y\nNA,1\nfoo,2\n,3\nbar,4\n")
    assert "! column 't' has 1 missing value, the first on line 4" in out.splitlines()


def test_without_a_target(check):
    code, out, _ = check(GOOD)
    assert code == 0
    assert "no target: csv:table.csv,target=COLUMN shows what would be learned" in out
    code, out, _ = check(",a,b\n0,1.5,x\n1,2.5,y\n", ",drop=b")
    assert lines_of(out, "(no name)")[0].split() == ["(no", "name)", "index"]
    assert lines_of(out, "b ")[0].split() == ["b", "dropped"]
    assert "column 1, which has no name, is taken for the index of a data frame" in out


@pytest.mark.parametrize(
    ("content", "options", "shown", "reason"),
    [
        ("a,b,y\n1,$1,2\n2,$2,3\n", ",target=y", "text", "column 'b' holds text (first '$1' on line 2)"),
        ("a,y\n1,2\n2,NA\n3,4\n", ",target=y", "has 1 missing value, the first 'NA' on line 3", "1 missing value"),
        ("a,y\n1/2/2024,2\n3/4/2024,3\n", ",target=y", "the day or the month may come first", "dates=dmy or dates=mdy"),
        ("a,y\n1,2\n2,3\n3,x\n", ",target=y", "column 'y' holds numbers, but also 'x' on line 4", "but also 'x'"),
        ("a,y\n1,2\n2,3\n3\n4,5\n", ",target=y", "readable up to 2 rows", "line 4 has 1 cells, but the header 2"),
        ("a,y\n1,2\n3,4\n", ",target=z", "", "has no column 'z'"),
        ("", ",target=z", "", "is empty"),
        ("a,y\n", ",target=y", "readable up to 0 rows", "has a header, but no rows"),
        (b"a,y\n\xe9,1\n", ",target=y", "", "is not UTF-8 text"),
        ("a;y\n1,5;p\n2,5;q\n", ",target=y", "column 'a' holds '1,5': decimal=comma reads it as 1.5", "decimal=comma"),
        ("a,y\n" + "1,p\n" * 8, ",target=y", "is constant", "all samples are of the class 'p'"),
    ],
)
def test_files_that_training_refuses(check, content, options, shown, reason):
    code, out, err = check(content, options)
    assert code == 2
    assert shown in out
    assert err.startswith("mpitrain: ")
    assert reason in err


def test_columns_that_are_encoded(check):
    rows = "".join(f"{'abc'[k % 3]},{k % 4 or 'NA'},2024-0{1 + k % 9}-15,{k % 5},{k % 2}\n" for k in range(36))
    code, out, err = check("kind,a,when,zip,y\n" + rows, ",target=y,categories=zip")
    assert code == 0, err
    shown = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line[:1].isalpha()}
    assert shown["kind"] == "category 3 distinct: 'a' 12, 'b' 12, 'c' 12"
    assert shown["a"] == "integer 9 1 to 3, mean 2; such as NA, 1, 2"
    assert shown["when"] == "date 2024-01-15 to 2024-09-15"
    assert shown["zip"].startswith("category 5 distinct")
    assert "table.csv: dates, as days: 'when'" in out
    assert "x (29, 9)" in out


def test_doubts(check):
    rows = "".join(f"{1e9 + k % 3 / 1e3},5,{k % 7},{k % 2},{1 - k % 2}\n" for k in range(30))
    code, out, _ = check("t,one,b,y,z\n" + rows, ",target=y")
    assert code == 0
    assert "! column 't' varies by 8e-13 of its size only" in out
    assert "! column 'one' is constant" in out
    assert "! 'z' and the target are one-hot labels, and tell the target" in out
    _, out, _ = check("a,b,y\n" + "1,2,2\n1,2,2\n2,1,1\n" * 3, ",target=y")
    assert "! 7 rows are a copy of an earlier one" in out
    assert "! 'b' equals the target in every row" in out
    _, out, _ = check("a,y\n" + "1,EU\n2,NA\n" * 5, ",target=y")
    assert "! column 'y' holds 'NA' as a value like others" in out


def test_other_sources(check, tmp_path):
    x, y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2
    x[5] = x[0]
    np.savez(tmp_path / "set.npz", x=x, y=y)
    code, out, _ = check(None, source="npz:set.npz")
    assert code == 0
    assert "x (16, 2) float32, 0 to 39, mean" in out
    assert "copies of others" in out or "training samples as well" in out
    code, out, _ = check(None, source="npz:set.npz", arguments=("--task", "regression"))
    assert "y (16, 1)" in out
    code, out, _ = check(None, source="digits")
    assert (code, "x (1437, 8, 8, 1) uint8, 0 to 16, mean 4.89207" in out) == (0, True)
    assert check(None, source="npz:none.npz")[0] == 2
    assert check(None, source="cvs:table.csv")[0] == 2


def test_in_a_narrow_terminal_and_in_a_pipe(tmp_path):
    """At 80 columns lines are wrapped, in a pipe they are complete."""
    names = [f"column number {k} with a long name" for k in range(3)]
    rows = "".join(f"{k},text {k} that goes on and on,{k / 3}\n" for k in range(9))
    (tmp_path / "table.csv").write_text(",".join(names) + "\n" + rows)
    command = [sys.executable, "-m", "mpitrain", "data", "check", "csv:table.csv"]
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "9 distinct: 'text 0 that goes on and on' 1, 'text 1 that goes on and on' 1, 'text 2 that goes on" in piped
    assert [line.startswith("column number") for line in piped.splitlines()].count(True) == 3
    assert not any(line != line.rstrip() for line in piped.splitlines())
    parent, child = pty.openpty()
    with os.fdopen(parent, "rb", buffering=0) as screen:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = subprocess.Popen(command, cwd=tmp_path, stdout=child, env={**os.environ, "TERM": "xterm"})
        os.close(child)
        shown = b""
        try:
            while piece := screen.read(4096):
                shown += piece
        except OSError:  # the end of a terminal
            pass
        assert process.wait(60) == 0
    lines = shown.decode().replace("\r\n", "\n").splitlines()
    assert all(len(line) <= 80 for line in lines)
    shown_text = " ".join(" ".join(line.split()) for line in lines)
    assert "'text 2 that goes on and on' 1" in shown_text
    assert "column number 2 with a long name" in shown_text
