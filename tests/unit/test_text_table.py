import doctest
import random

import pytest

import mpitrain.plain_text
import mpitrain.training.display.parts
import mpitrain.training.display.text_table
import mpitrain.training.display.time_left
from mpitrain.plain_text import visible
from mpitrain.training.display.console import PlainConsole
from mpitrain.training.display.text_table import Column, print_table

HOSTILE = ["[/red]x", "[bold]y", ":smile:", "exercise4_ring.py:ring", "length [m]", "rate [/s]", "a\\[b]", "x\x1b[31m"]
COLUMNS = [Column("bytes"), Column("algorithm", "name"), Column("native / measured"), Column("how", "word")]


def printed(capsys, columns, rows, width, **options):
    """Return the lines that a table takes on a terminal of ``width`` columns, or elsewhere for None."""
    print_table(PlainConsole(None if width is None else lambda: width), columns, rows, **options)
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def no_color(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.mark.parametrize(
    "module",
    [
        mpitrain.plain_text,
        mpitrain.training.display.parts,
        mpitrain.training.display.text_table,
        mpitrain.training.display.time_left,
    ],
    ids=lambda module: module.__name__,
)
def test_examples_in_docstrings(module):
    assert doctest.testmod(module) == (0, doctest.testmod(module).attempted)
    assert doctest.testmod(module).attempted > 0


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("width", [None, 60, 200])
def test_names_are_no_markup(capsys, name, width):
    lines = printed(capsys, COLUMNS, [("4 KB", name, "1.00", "exact")], width)
    assert visible(name) in lines[-1]
    PlainConsole(None if width is None else lambda: width).say(f"weights in runs/{name}/model.safetensors")
    assert f"runs/{visible(name)}/model" in capsys.readouterr().out
    PlainConsole().print(f"a string: {name}")
    assert visible(name) in capsys.readouterr().out


def test_a_pipe_gets_complete_lines_without_trailing_blanks(capsys):
    long = "courses/hpc2026/homework/" + 40 * "deeper/" + "exercise5_own.py:own"
    rows = [("4 KB", long, "1,234.5 us", "exact"), None, ("16 MB", "ring", "1 us", "pattern")]
    lines = printed(capsys, COLUMNS, rows, None, title="64 ranks")
    assert lines[0] == "64 ranks"
    assert lines[1].split() == ["bytes", "algorithm", "native", "/", "measured", "how"]
    assert lines[2].split("  ")[0].strip() == "4 KB"
    assert long in lines[2]
    assert lines[3] == ""
    assert len(lines) == 5
    assert [line for line in lines if line != line.rstrip()] == []


def test_no_number_is_lost_on_any_terminal(capsys):
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    for _ in range(200):
        numbers = [f"{draw.randrange(10 ** draw.randrange(1, 9)):,}" for _ in range(4)]
        rows = [(numbers[0], "x" * draw.randrange(1, 70), f"{numbers[1]} us", "exact"), (*numbers[2:], "1", "wrong")]
        width = draw.randrange(30, 150)
        lines = printed(capsys, COLUMNS, rows, width)
        text = "\n".join(lines)
        assert all(number in text for number in [*numbers, "exact", "wrong"]), f"seed {seed}, width {width}\n{text}"
        assert all(line == line.rstrip() for line in lines), f"seed {seed}"
        if width >= 60:
            assert max(map(len, lines)) <= width, f"seed {seed}, width {width}\n{text}"


def test_names_keep_their_end_and_heads_are_broken(capsys):
    name = "courses/hpc2026/homework/exercise5_own.py:own"
    lines = printed(capsys, COLUMNS, [("4 KB", name, "1.00", "exact")], 44)
    assert lines[0].split() == ["native", "/"]
    assert lines[1].split() == ["bytes", "algorithm", "measured", "how"]
    assert "…" in lines[2]
    assert "exercise5_own.py:own" in lines[2]
    assert max(map(len, lines)) <= 44


@pytest.mark.parametrize(("width", "num_lines"), [(None, 1), (200, 1), (60, 2), (30, 4)])
def test_texts_are_wrapped_on_terminals_only(capsys, width, num_lines):
    text = "shared: no messages, each rank updates its share of the weights"
    lines = printed(capsys, [Column("", "word"), Column("", "text")], [("gradients", text)], width, head=False)
    assert len(lines) == num_lines
    assert " ".join(" ".join(lines).split()) == f"gradients {text}"
    assert width is None or max(map(len, lines)) <= width


def test_wide_characters_are_counted_as_wide(capsys):
    lines = printed(capsys, COLUMNS, [("1", "日本語", "1.00", "a"), ("1", "abcdef", "1.00", "b")], 80)
    assert lines[1].index("1.00") + 3 == lines[2].index("1.00")
