"""The house: a file imports only from floors below its own (see the table), and guests enter by one door."""

import ast
from pathlib import Path

import pytest

import mpitrain

ROOT = Path(mpitrain.__file__).parent

FLOORS = [
    [
        *(
            "__init__",
            "balance_options",
            "config",
            "config_check",
            "config_file",
            "config_keywords",
            "duration",
            "errors",
            "expendable",
            "json_lines",
            "json_text",
            "later",
            "lora_options",
            "name_patterns",
            "plain_text",
            "suggest",
            "svg",
        ),
        *(
            "device",
            "cpu_kernels",
            "option_values",
            "registry",
            "run_rules",
            "user_code",
            "user_file",
            "user_generator",
        ),
    ],
    [
        *("arena", "context", "key_value_cache", "model_table", "parameter", "step_header"),
        *("collectives", "pipelines", "planning", "profiles", "scaling", "data", "metrics", "sweeps"),
    ],
    ["ops", "comm", "kernels"],
    ["layers", "models", "losses", "head_loss", "generation", "optim"],
    ["parallel"],
    ["training", "monitor", "pages", "serving"],
    ["cli", "__main__"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
DOORS = {"mpi4py": "comm", "cupy": "device", "rich": "training cli", "tyro": "config cli", "matplotlib": "training"}
FRONT_DOOR = ROOT / "__init__.py"  # names of all floors, each imported when it is used
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
    if path == FRONT_DOOR:
        return
    here = part(path)
    assert here in FLOOR, f"{here} is on no floor"
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "mpitrain":
            there = rest[0] if rest and rest[0] in FLOOR else "__init__"
            assert there == here or FLOOR[there] <= FLOOR[here], f"{path.name} imports {name}, from a floor above"
        elif top in DOORS:
            assert here in DOORS[top].split(), f"{path.name} imports {top}, which enters by {DOORS[top]}"


@pytest.mark.parametrize("folder", ["collectives", "pipelines", "planning", "profiles", "scaling", "sweeps"])
def test_schedules_are_pure(folder):
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        assert not any(n.startswith(("mpi4py", "mpitrain.comm", "mpitrain.arena")) for n in imported(path)), path


def module_of(name):
    """Return the path of the innermost module or package in an absolute name; None outside of mpitrain."""
    parts = name.split(".")
    while parts and parts[0] == "mpitrain":
        path = ROOT.parent.joinpath(*parts)
        for found in (path.with_suffix(".py"), path / "__init__.py"):
            if found.is_file():
                return found
        parts.pop()
    return None


def circles(arrows):
    """Return the sets of files that import each other in a circle (strongly connected components, Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in arrows[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(str(path.relative_to(ROOT)) for path in component))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def test_no_circle_within_a_folder():
    """Imports under TYPE_CHECKING and inside functions count, too."""
    arrows = {path: {module_of(name) for name in imported(path)} - {None, path, FRONT_DOOR} for path in SOURCES}
    del arrows[FRONT_DOOR]
    assert circles(arrows) == []


def test_a_circle_is_found():
    assert circles({ROOT / "a": [ROOT / "b"], ROOT / "b": [ROOT / "c"], ROOT / "c": [ROOT / "b"]}) == [["b", "c"]]
