"""First lines of docstrings: noun phrases or imperatives, in American spelling, without persons for processes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("mpitrain", "scripts", "tests")

RULES = {
    "a question or relative clause as a title": r"(What|Whether|Who|Whose|How|Why|Which|Where|When)\b",
    "a fragment": r"(Of|That of|Those|It|Told)\b",
    "a person for a process": r".*\b([Ss]ome|[Nn]o|[Ee]very|[Aa]ny)body\b|.*, who\b|.*\b(speaks|wants)\b",
    "a for per": r".*\b(line|module|launch|once|bytes|elements|blocks|threads|registers|microseconds) an? "
    r"(block|class|element|epoch|line|number|rank|row|sample|second|SM|stage|step|subcommand|thread)\b",
    "British spelling": r".*(normalis|neighbour|behaviour|colour|initialis|vectoris|synchronis|labelled)",
}


def problem(line: str) -> str:
    """Return the rule that the first line of a docstring breaks; empty if none."""
    words = re.sub(r"``.*?``", "``", line)
    return next((name for name, pattern in RULES.items() if re.match(pattern, words)), "")


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line number and first line of each docstring, those below the fields of classes included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for position, statement in enumerate(node.body):
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                    continue
                text = statement.value.value
                below_field = isinstance(node.body[position - 1], ast.AnnAssign | ast.Assign)
                if isinstance(text, str) and text.strip() and (position == 0 or below_field):
                    yield statement.lineno, text.strip().splitlines()[0]


def files() -> list[Path]:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted(paths)


def test_first_lines() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {rule}: {line}"
        for path in files()
        for number, line in docstrings(ast.parse(path.read_text()))
        if (rule := problem(line))
    ]
    assert not found, "\n".join(found)


def test_all_docstrings_are_read() -> None:
    """The search sees docstrings of modules, classes, functions and fields."""
    text = '''"""A."""
class C:
    """B."""
    x: int = 0
    """C."""
    def f(self):
        """D.

        E.
        """
'''
    assert sorted(docstrings(ast.parse(text))) == [(1, "A."), (3, "B."), (5, "C."), (7, "D.")]
    assert len(files()) > 450


@pytest.mark.parametrize(
    "line",
    [
        "What a training step changes.",
        "Whose weights they are.",
        "Of the samples.",
        "Compare weights over the ranks, who call this together.",
        "Wait for nobody.",
        "Print a line a sample.",
        "Return the normalised batch.",
    ],
)
def test_odd_lines_are_found(line: str) -> None:
    assert problem(line)


@pytest.mark.parametrize("line", ["Return the normalized batch.", "Whole numbers.", "Print one line per sample."])
def test_plain_lines_pass(line: str) -> None:
    assert not problem(line)
