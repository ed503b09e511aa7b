"""Pages of the API, one for each public module, written by mkdocstrings from the docstrings, and an index of names."""

import ast
import functools
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "mpitrain"
FOLDER = "reference/api"
MODULES = {
    "training.trainer": "Trainer",
    "training.hooks": "Hooks",
    "metrics": "Metrics",
    "layers": "Layers",
    "models": "Models",
    "losses": "Losses",
    "optim": "Optimizers",
    "data": "Data",
    "parallel.data": "DataParallel",
    "arena": "Arena",
    "parameter": "Parameter",
    "context": "Context",
    "collectives": "Collectives",
    "collectives.price": "Prices of collectives",
    "collectives.draw": "Drawings of collectives",
    "pipelines": "Pipelines",
    "pipelines.price": "Prices of pipelines",
    "pipelines.draw": "Drawings of pipelines",
    "comm.world": "World",
    "comm.group": "Group",
    "comm.mesh": "Mesh",
    "comm.channel": "Channel",
    "registry": "Registry",
    "config": "Config",
    "errors": "Errors",
}
"""Titles of the pages of modules, in the order of the nav; modules of further public names follow."""


@functools.cache
def pages() -> dict[str, str]:
    """Return the text of each page by its path in docs/."""
    names = public_names()
    titles = {name: title for name, title in MODULES.items() if _path(name) is not None}
    titles |= {home: home for name in names if (home := _page_of(name)) not in titles}
    text = "# API\n\nFrom the docstrings of the public modules.\n\n"
    if names:
        text += "`import mpitrain as mt` has these names:\n\n| name | |\n|---|---|\n"
        text += "".join(
            f"| [`{name}`]({_page_of(name)}.md#{_full_name(_page_of(name), name)}) | {_summary(module, name)} |\n"
            for name, module in names.items()
        )
        text += "\n## Modules\n\n"
    text += "| module | page | |\n|---|---|---|\n"
    text += "".join(
        f"| `mpitrain.{name}` | [{title}]({name}.md) | {_summary(name)} |\n" for name, title in titles.items()
    )
    return {f"{FOLDER}/index.md": text} | {f"{FOLDER}/{name}.md": _page(name, title) for name, title in titles.items()}


@functools.cache
def public_names() -> dict[str, str]:
    """Return the module of each name in ``mpitrain.__all__``, from the imports of mpitrain/__init__.py."""
    tree = _tree("")
    imported = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for alias in node.names
    }
    listed = _listed(tree) or []
    return {name: imported[name] for name in sorted(listed, key=str.lower) if name in imported}


def _page_of(name: str) -> str:
    """Return the module on whose page a public name is: a package that exports it, or the module that defines it."""
    module = package = public_names()[name]
    while package:
        if package in MODULES and name in (_listed(_tree(package)) or []):
            return package
        package = package.rpartition(".")[0]
    return module


def _page(name: str, title: str) -> str:
    members = _listed(_tree(name)) or _defined(_tree(name))
    members = list(dict.fromkeys([*members, *(public for public in public_names() if _page_of(public) == name)]))
    hidden = [member for member in members if _full_name(name, member) != f"mpitrain.{name}.{member}"]
    text = f"# {title}\n\n::: mpitrain.{name}\n    options:\n      members:\n"
    text += "".join(f"        - {member}\n" for member in members if member not in hidden)
    options = "    options:\n      heading_level: 2\n      show_root_heading: true\n"
    options += "      show_root_full_path: false\n      show_root_toc_entry: true\n"
    return text + "".join(f"\n::: {_full_name(name, member)}\n{options}" for member in hidden)


def _full_name(module: str, name: str) -> str:
    """Return the place of a name for mkdocstrings, which takes a submodule of the same name for it."""
    return f"mpitrain.{module}.{name}" + (f".{name}" if _path(f"{module}.{name}") is not None else "")


def _path(name: str) -> Path | None:
    base = PACKAGE.joinpath(*name.split(".")) if name else PACKAGE
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _tree(name: str) -> ast.Module:
    path = _path(name)
    assert path is not None, f"mpitrain.{name}"
    return ast.parse(path.read_text(encoding="utf-8"))


def _summary(module: str, name: str = "") -> str:
    """Return the first line of a docstring: that of a module, or of a name in it, also one that it imports."""
    tree = _tree(module)
    if not name:
        return (ast.get_docstring(tree) or "").partition("\n")[0]
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            package = module.split(".") if (PACKAGE.joinpath(*module.split("."))).is_dir() else module.split(".")[:-1]
            parents = package[: len(package) - node.level + 1]
            return _summary(".".join([*parents, *filter(None, [node.module])]), name)
    return ""


def _listed(tree: ast.Module) -> list[str] | None:
    """Return ``__all__``; None if there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def _defined(tree: ast.Module) -> list[str]:
    """Return the names of the public classes and functions of a module."""
    kinds = ast.ClassDef | ast.FunctionDef
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
