import pytest

from mpitrain.cli.main import main

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
