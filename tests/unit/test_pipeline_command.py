"""The commands of pipelines: results, wrong input, and output that is complete in a pipe."""

import json

import pytest

from mpitrain.cli.main import main
from mpitrain.pipelines import find, make_program, simulate
from mpitrain.pipelines.price import Costs
from mpitrain.pipelines.trace import Span, Trace, format_trace

MINE = """
from mpitrain.pipelines import Task, pipeline
from mpitrain.pipelines.schedules import gpipe, one_f_one_b

def late(rank, size, m):
    \"\"\"All backwards in the opposite order.\"\"\"
    yield from (Task("F", rank, i) for i in range(m))
    yield from (Task("B", rank, i) for i in reversed(range(m)))

def short(rank, size, m):
    yield from list(one_f_one_b(rank, size, m))[:-1]

@pipeline(live=lambda rank, size: size - rank)
def hungry(rank, size, m):
    yield from gpipe(rank, size, m)

def crossed(rank, size, m):
    yield from one_f_one_b(rank, size, m) if rank == 0 else (Task("F", rank, i) for i in reversed(range(m)))
    yield from () if rank == 0 else (Task("B", rank, i) for i in range(m))

def endless(rank, size, m):
    while True:
        yield Task("F", rank, 0)
"""
SHORT = "rank 0 of 4 never yields B of microbatch 7 on stage 0: it yields B there for 7 of 8 microbatches"


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return f"{path}:"


def run(capsys, *argv):
    code = main(["pipeline", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:3] for line in out.splitlines() if "%" in line}
    assert rows == {
        "1f1b": ["27.3%", "4"],
        "gpipe": ["27.3%", "8"],
        "interleaved:chunks=2": ["15.8%", "5.5"],
        "breadth_first:chunks=2": ["15.8%", "8"],
        "zb_h1": ["11.1%", "4"],
        "greedy:memory=1.0": ["5.9%", "4"],
    }
    assert max(map(len, out.splitlines())) > 110  # in a pipe nothing is cut
    assert "with 2 ranks, 3 microbatches" in run(capsys, "list", "-n", 2, "-m", 3)[1]


def test_show(capsys, mine):
    code, out, err = run(capsys, "show", "zb_h1", "-n", 2, "-m", 3)
    assert (code, err) == (0, "")
    assert "Bubble: (P-1) / (3M+P-1); for M < P" in out
    assert "arXiv 2401.10241" in out
    assert "\nrank 0 F0F1  B0W0F2B1W1B2W2\n" in out
    assert out.splitlines()[-1].split() == ["rank", "1", "1", "10.0%", "10.0%", "0.0%", "0.0%", "2"]
    code, out, _ = run(capsys, "show", f"{mine}late", "-n", 3, "-m", 2)
    assert (code, out.splitlines()[0]) == (0, "All backwards in the opposite order.")
    code, out, _ = run(capsys, "show", "1f1b", "-n", 100, "-m", 200)
    assert "100 ranks, 200 microbatches: too many for a picture" in out
    assert "rank 50  F0 F1 F2 F3" in out
    assert "... and 84 more ranks" in out


def test_check(capsys, mine):
    code, out, _ = run(capsys, "check", f"{mine}late", "--max-ranks", 3, "--max-microbatches", 4)
    assert code == 0
    assert "mine.py:late: checked for P from 1 to 3 and M from 1 to 4\n" in out
    assert "no deadlock under any timing" in out
    code, out, _ = run(capsys, "check", "interleaved:chunks=3", "-n", 6, "-m", 5)
    assert out.splitlines()[0] == "interleaved:chunks=3: checked for P = 6 and M = 5"
    code, out, err = run(capsys, "check", f"{mine}short")
    assert (code, out) == (2, "")
    why = "rank 0 of 1 never yields B of microbatch 0 on stage 0: it yields B there for 0 of 1 microbatches"
    assert err.endswith(f"mine.py:short is wrong for P = 1, M = 1: {why}\n")


def test_price(capsys):
    code, out, _ = run(capsys, "price", "1f1b", "zb_h1", "-n", 4, "-m", 8, "--forward", "20ms", "--json")
    assert code == 0
    rows = {row["schedule"]: row for row in json.loads(out)}
    assert rows["1f1b"]["step"] == pytest.approx(0.66)
    assert rows["zb_h1"]["step"] == pytest.approx(0.54)
    assert rows["1f1b"]["live"] == [4, 3, 2, 1]
    assert rows["1f1b"]["bubbles"] == pytest.approx([3 / 11] * 4)
    code, out, _ = run(
        capsys, "price", "1f1b", "--forward", "20ms", "--backward", "30ms", "--bytes", "12.5MB", "--json"
    )
    message = 2e-6 + 12.5e6 * 8e-11  # of the table: 2 us and 12.5 GB/s
    assert json.loads(out)[0]["step"] > 8 * 0.07 + 3 * 0.07 + 6 * message - 1e-9
    _, on_one, _ = run(capsys, "price", "1f1b", "--forward", "1ms", "--bytes", "1MiB")
    _, on_four, _ = run(capsys, "price", "1f1b", "--forward", "1ms", "--bytes", "1MiB", "--ranks-per-node", 1)
    assert "messages of 1MiB" in on_one
    assert on_four.splitlines()[0] == on_one.splitlines()[0]


def test_price_chooses(capsys):
    _, out, _ = run(capsys, "price")
    assert out.splitlines()[0] == "4 ranks, 8 microbatches: forward 1, dx 1, dw 1, messages take no time"
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["greedy:memory=1", "zb_h1"]
    assert out.splitlines()[-1] == "fastest: greedy:memory=1, 25.5, and a rank holds 4"
    _, out, _ = run(capsys, "price", "--memory", "2.5")
    assert out.splitlines()[-1] == (
        "fastest of those that hold 2.5 microbatches or less: greedy:memory=0.5, 35.5, and a rank holds 2"
    )
    _, out, _ = run(capsys, "price", "1f1b", "gpipe", "--memory", "2")
    assert out.splitlines()[-1] == "none holds 2 microbatches or less: 1f1b holds 4, the least"
    _, out, _ = run(capsys, "price", "gpipe", "--forward", "1", "1", "1.5", "1")
    assert "rank 2 has the most work: 33% more than the mean" in out
    _, out, _ = run(capsys, "price", "1f1b", "-n", 7, "-m", 9)
    assert out.splitlines()[2].split()[-3:] == ["1", "to", "7"]


def test_draw(capsys, tmp_path, mine):
    code, out, _ = run(capsys, "draw", "gpipe", "1f1b", "-n", 2, "-m", 2)
    assert code == 0
    assert out.count("rank 1") == 2
    assert run(capsys, "draw", "gpipe", "-o", tmp_path / "x.svg")[:2] == (0, f"{tmp_path}/x.svg\n")
    assert (tmp_path / "x.svg").read_text().startswith("<svg")
    page = tmp_path / "deep" / "x.html"
    code, out, _ = run(capsys, "draw", "gpipe", f"{mine}late", "-o", page, "--max-ranks", 3, "--max-microbatches", 3)
    assert (code, out) == (0, f"{page}: open it in a browser\n")
    assert "mine.py:late" in page.read_text()


def test_wrong_ones_are_drawn_and_not_priced(capsys, tmp_path, mine):
    code, out, err = run(capsys, "draw", f"{mine}crossed", "-n", 2, "-m", 3)
    assert code == 1
    assert "wrong: deadlock: rank 0 of 2, task 2, line 18, waits before B of microbatch 0 on stage 0" in out
    assert err.startswith("mpitrain: drawn as far as it goes: ")
    code, out, err = run(capsys, "show", f"{mine}hungry", "-n", 2, "-m", 3)
    assert code == 1
    assert "rank 0 of 2 holds 3 microbatches at a time, but 2 are promised (line 13)" in err
    for command in (["price"], ["draw", "-o", tmp_path / "x.html"], ["show"]):
        code, out, err = run(capsys, *command, f"{mine}short")
        assert (code, out) == (2, "")
        assert err.endswith(f"mine.py:short is wrong for P = 4, M = 8: {SHORT}\n")
    for name, message in (("crossed", "deadlock: "), ("hungry", "holds 8 microbatches at a time, but 4 are promised")):
        code, out, err = run(capsys, "price", f"{mine}{name}")
        assert (code, out) == (2, "")
        assert message in err
    code, out, err = run(capsys, "show", f"{mine}endless")
    assert (code, out) == (2, "")
    assert "is still yielding after 18000 tasks (line 23); does the loop there end?" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["frob"], "there is no pipeline command 'frob'; there are list, show, check, price, draw, trace"),
        (["chek"], "(did you mean 'check'?)"),
        (["show", "1fb1"], "there is no pipeline '1fb1'; did you mean '1f1b'?"),
        (["check", "interleaved:chunks=0"], "chunks is 0, but a rank has one stage at least"),
        (["check", "1f1b", "--max-ranks", "0"], "--max-ranks is 0, but must be at least 1"),
        (["check", "1f1b", "-m", "-1"], "-m is -1, but must be at least 1"),
        (["list", "-n", "0"], "-n is 0, but must be at least 1"),
        (["show", "1f1b", "-m", "0"], "-m is 0, but must be at least 1"),
        (["price", "-n", "0"], "-n is 0"),
        (["price", "--forward", "fast"], "--forward is a time, as 1, 0.5, 20ms or 300us, not 'fast'"),
        (["price", "--forward", "-1"], "not '-1'"),
        (["price", "--forward", "0"], "--forward is 0, but must be more than 0"),
        (["price", "--forward", "20ms", "--weights", "1"], "as numbers (1): give all in one way"),
        (["price", "--forward", "1", "2"], "--forward has 2 times, but needs 1, or one for each of 4 ranks"),
        (["price", "--bytes", "1MiB"], "--bytes is for messages that take seconds"),
        (["price", "--forward", "1ms", "--bytes", "x"], "--bytes is a number of bytes, as 4096"),
        (["price", "--ranks-per-node", "2"], "messages take no time without --bytes"),
        (["price", "--forward", "1s", "--bytes", "1", "--ranks-per-node", "-1"], "--ranks-per-node is -1"),
        (["price", "--forward", "1s", "--bytes", "1", "--calibration", "none"], "cannot read the calibration none"),
        (["price", "--memory", "-1"], "--memory is -1, but must be at least 0"),
        (["draw"], "draw needs the name of a schedule"),
        (["draw", "1f1b", "-o", "x.pdf"], "-o is x.pdf, but must end in .svg or .html"),
        (["draw", "1f1b", "gpipe", "-o", "x.svg"], "a diagram shows one schedule; a page (-o FILE.html) shows two"),
        (["draw", "1f1b", "-n", "70", "-o", "x.svg"], "a diagram of 70 ranks and 1,120 tasks cannot be read"),
        (["trace", "none.jsonl"], "cannot read the pipeline trace none.jsonl: No such file or directory"),
        (["trace", "x.jsonl", "-o", "x.txt"], "-o is x.txt, but must end in .svg or .html"),
    ],
)
def test_mistakes(capsys, monkeypatch, tmp_path, argv, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def write_trace(path, name, size=3, m=4, shift=0.0):
    program = make_program(find(name), size, m)
    costs = Costs((0.001, 0.002, 0.001), (0.001,), (0.001,))
    run = simulate(program, costs.durations(program), lambda *_: (0.0005, 0.0))
    spans = [
        Span(rank, task, begin + shift * rank, end + shift * rank)
        for rank, own in enumerate(program.tasks)
        for task, begin, end in zip(own, run.begins[rank], run.ends[rank])
    ]
    path.write_text(format_trace(Trace(name, size, m, spans, 1e-6, "MPICH 5.0.2")))


def test_trace(capsys, tmp_path):
    path = tmp_path / "run.jsonl"
    write_trace(path, "1f1b")
    code, out, err = run(capsys, "trace", path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("1f1b, 3 ranks, 4 microbatches: step 24 ms, bubble ")
    assert lines[0].endswith("held 3 2 1, MPICH 5.0.2")
    assert len(lines) == 6
    assert "step 24 ms recorded, 2" in lines[5]
    assert "clocks" not in out
    for name in ("x.svg", "x.html"):
        code, out, _ = run(capsys, "trace", path, "-o", tmp_path / name)
        assert (code, out.splitlines()[-1]) == (0, f"{tmp_path / name}")
    page = (tmp_path / "x.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["costs"]["F"] == pytest.approx([0.001, 0.002, 0.001])
    assert data["trace"]["begins"][0][:3] == pytest.approx([0, 0.001, 0.002])
    assert set(data["pipelines"][0]["errors"]) == set()
    assert "recorded: step 24 ms" in (tmp_path / "x.svg").read_text()


def test_trace_of_a_schedule_that_is_not_here_any_more(capsys, tmp_path, mine):
    path = tmp_path / "run.jsonl"
    write_trace(path, f"{mine}late")
    (tmp_path / "mine.py").write_text(MINE.replace("reversed(range(m)))", "range(m))"))
    code, _, err = run(capsys, "trace", path, "-o", tmp_path / "x.html")
    assert code == 0
    assert "is not that of" in err
    assert "task 4 of rank 0 was B of microbatch 3 on stage 0, but" in err
    (tmp_path / "mine.py").unlink()
    code, out, err = run(capsys, "trace", path, "-o", tmp_path / "x.html")
    assert code == 0
    assert err.startswith("mpitrain: the schedule of the run is not known here: there is no file ")
    assert "recorded with P = 3 and M = 4 only" in (tmp_path / "x.html").read_text()
    assert "mine.py:late, 3 ranks" in out


def test_trace_with_clocks_that_differ(capsys, tmp_path):
    path = tmp_path / "run.jsonl"
    write_trace(path, "gpipe", shift=-0.002)
    code, out, _ = run(capsys, "trace", path)
    assert code == 0
    assert "a task begins 1.5 ms before its input is there: clocks differ by more than 1 us, as the trace says" in out
