"""The house: a file imports only from floors below its own (see the table), and guests enter by one door."""

import ast
from pathlib import Path

import pytest

import mpitrain

ROOT = Path(mpitrain.__file__).parent

FLOORS = [
    [
        *("__init__", "config", "config_file", "duration", "errors", "expendable", "json_text", "plain_text", "svg"),
        *("device", "cpu_kernels", "option_values", "registry", "user_file"),
    ],
    ["arena", "context", "parameter", "step_header", "collectives", "data", "metrics"],
    ["ops", "comm", "kernels"],
    ["layers", "models", "losses", "optim"],
    ["parallel"],
    ["training"],
    ["cli", "__main__"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
DOORS = {"mpi4py": "comm", "cupy": "device", "rich": "training cli", "tyro": "config cli", "matplotlib": "training"}
SOURCES = sorted(ROOT.rglob("*.py"))


def part(path):
    """Return the folder, or the file, of the package that a path belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path):
    """Yield the absolute names of all modules that a file imports, wherever in the file."""
    package = ("mpitrain", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_arrow_runs_up(path):
    here = part(path)
    assert here in FLOOR, f"{here} is on no floor"
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "mpitrain":
            there = rest[0] if rest and rest[0] in FLOOR else "__init__"
            assert there == here or FLOOR[there] <= FLOOR[here], f"{path.name} imports {name}, from a floor above"
        elif top in DOORS:
            assert here in DOORS[top].split(), f"{path.name} imports {top}, which enters by {DOORS[top]}"


def test_collectives_are_pure():
    for path in (ROOT / "collectives").rglob("*.py"):
        assert not any(n.startswith(("mpi4py", "mpitrain.comm", "mpitrain.arena")) for n in imported(path)), path
