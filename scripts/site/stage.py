"""Stage the documentation site: copy docs/ to build/docs, add generated pages, write build/mkdocs.yml.

The result is plain Markdown and a plain configuration, without hooks, so that MkDocs and its successors can build it.
In the nav of mkdocs.yml, ``decisions`` and ``benchmarks`` stand for all pages of these folders, and the names of the
two references for generated pages. Links to files outside of docs/ lead to the repository.

    python scripts/site/stage.py [FOLDER]
"""

import posixpath
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import api
import command_line

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COPIED = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")


def main(folder: Path = ROOT / "build") -> None:
    """Write FOLDER/docs and FOLDER/mkdocs.yml."""
    pages = folder / "docs"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(DOCS, pages)
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    texts = command_line.pages() | api.pages()
    texts |= {name: (ROOT / source).read_text(encoding="utf-8") for name, source in COPIED.items()}
    texts |= {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
    for name, text in texts.items():
        path = pages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(redirect_links(text, name, config["repo_url"]), encoding="utf-8")
    config["nav"] = expand(config["nav"])
    for plugin in config["plugins"]:
        if "mkdocstrings" in plugin:
            plugin["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    config |= {"docs_dir": "docs", "site_dir": "site"}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def redirect_links(text: str, page: str, repository: str) -> str:
    """Return the text of a page with relative links to files outside of docs/ replaced by links to the repository.

    >>> redirect_links("[script](../scripts/docs), [next](gpu.md#x)", "cluster.md", "https://host/mpitrain")
    '[script](https://host/mpitrain/blob/main/scripts/docs), [next](gpu.md#x)'
    """
    here = posixpath.dirname(COPIED.get(page, f"docs/{page}"))
    places = {source: name for name, source in COPIED.items()}

    def redirect(link: re.Match[str]) -> str:
        before, target, anchor, after = link.groups()
        path = posixpath.normpath(posixpath.join(here, target))
        inside = places.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
        if inside and not (ROOT / path).is_dir():
            target = posixpath.relpath(inside, posixpath.dirname(page) or ".")
        elif (ROOT / path).exists():
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            target = f"{repository}/{kind}/main/{path}"
        return f"{before}{target}{anchor or ''}{after}"

    return LINK.sub(redirect, text)


def expand(nav: object) -> object:
    """Return ``nav`` with the names of folders replaced by lists of pages."""
    if isinstance(nav, list):
        return [expand(item) for item in nav]
    if isinstance(nav, dict):
        return {title: expand(item) for title, item in nav.items()}
    return FOLDERS[nav]() if nav in FOLDERS else nav


def folder_pages(name: str) -> list[str]:
    """Return the pages of a folder of docs/, its README first."""
    paths = sorted((DOCS / name).glob("*.md"), key=lambda path: (path.name != "README.md", path.name))
    return [f"{name}/{path.name}" for path in paths]


FOLDERS: dict[object, Callable[[], list[str]]] = {
    "decisions": lambda: folder_pages("decisions"),
    "benchmarks": lambda: folder_pages("benchmarks"),
    command_line.FOLDER: lambda: list(command_line.pages()),
    api.FOLDER: lambda: list(api.pages()),
}

if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
