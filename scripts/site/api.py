"""Pages of the API, one for each public package or module, written by mkdocstrings from the docstrings."""

import ast
import functools
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "mpitrain"
FOLDER = "reference/api"
MODULES = {
    "arena": "Arena",
    "parameter": "Parameter",
    "context": "Context",
    "saved": "Saved",
    "layers": "Layers",
    "models": "Models",
    "losses": "Losses",
    "optim": "Optimizers",
    "registry": "Registry",
    "data": "Data",
    "collectives": "Collectives",
    "collectives.price": "Prices of collectives",
    "collectives.draw": "Drawings of collectives",
    "comm.world": "World",
    "comm.group": "Group",
    "parallel.data_parallel": "DataParallel",
    "training.trainer": "Trainer",
    "training.hooks": "Hooks",
    "config": "Config",
    "errors": "Errors",
}
"""Public modules and the titles of their pages, in the order of the nav."""


@functools.cache
def pages() -> dict[str, str]:
    """Return the text of each page by its path in docs/."""
    there = {name: title for name, title in MODULES.items() if _path(name) is not None}
    rows = "".join(f"| [{title}]({name}.md) | {_summary(name)} |\n" for name, title in there.items())
    index = f"# API\n\nFrom the docstrings of the public modules.\n\n| page | |\n|---|---|\n{rows}"
    return {f"{FOLDER}/index.md": index} | {f"{FOLDER}/{name}.md": _page(name, title) for name, title in there.items()}


def _page(name: str, title: str) -> str:
    members = "".join(f"        - {member}\n" for member in _members(name))
    return f"# {title}\n\n::: mpitrain.{name}\n    options:\n      members:\n{members}"


def _path(name: str) -> Path | None:
    base = PACKAGE.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _tree(name: str) -> ast.Module:
    path = _path(name)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


def _summary(name: str) -> str:
    return (ast.get_docstring(_tree(name)) or "").partition("\n")[0]


def _members(name: str) -> list[str]:
    """Return the public names of a module in order: ``__all__``, or the classes and functions that it defines."""
    defined = []
    for node in _tree(name).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            defined.append(node.name)
    return defined
