"""The documentation: the site builds without warnings; links, options, commands and files in pages exist."""

import doctest
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

import mpitrain
from mpitrain.cli.commands import COMMANDS
from mpitrain.cli.completion import find_places

ROOT = Path(__file__).parents[2]
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "benchmarks" not in path.parts]
PAGES.remove(ROOT / "docs" / "inputs.md")  # shows wrong commands
REPOSITORY = "https://github.com/mpitrain/mpitrain"
FOREIGN = {
    *("--with-ft", "--map-by", "--with-mpi", "--gpu", "--strict"),  # mpirun, pytest, MkDocs
    *("--mca", "--minutes", "--stand-in", "--cases", "--pipelines"),  # Open MPI's mpirun, scripts/test, scripts/bench
    *("--mpi", "--ntasks", "--cpus-per-task", "--time", "--signal"),  # Slurm
}

needs_docs = pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs")


def load(name):
    sys.path.insert(0, str(ROOT / "scripts" / "site"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "site" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


def build(folder):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(folder / "mkdocs.yml")]
    environment = os.environ | {"NO_COLOR": "1", "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110)


@pytest.mark.slow
@needs_docs
def test_the_site_builds_without_warnings(tmp_path):
    load("stage").main(tmp_path)
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "command-line" / "train" / "index.html").read_text(encoding="utf-8")
    assert "<code>--batch-size</code>" in page
    for module, names in {
        "layers": ["Linear.forward", "Sequential"],
        "collectives": ["Step", "algorithm.algorithm", "check.check"],  # functions in files of their names
    }.items():
        page = (tmp_path / "site" / "reference" / "api" / module / "index.html").read_text(encoding="utf-8")
        assert [name for name in names if f'id="mpitrain.{module}.{name}"' not in page] == []


@pytest.fixture(scope="module")
def small_site(tmp_path_factory):
    """A site of three pages, with the configuration of the whole one, which builds without warnings."""
    folder = tmp_path_factory.mktemp("site")
    load("stage").main(folder)
    config = yaml.safe_load((folder / "mkdocs.yml").read_text(encoding="utf-8"))
    config["nav"] = ["index.md", "gpu.md", "cluster.md"]
    for path in (folder / "docs").rglob("*.md"):
        path.unlink()
    for name in config["nav"]:
        (folder / "docs" / name).write_text(f"# {name}\n", encoding="utf-8")
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


@needs_docs
@pytest.mark.parametrize(
    ("page", "text", "message"),
    [
        ("gpu.md", "[a page that is not there](missing.md)", "'missing.md'"),
        ("gpu.md", "[an anchor that is not there](cluster.md#missing)", "'#missing'"),
        ("gpu.md", "::: mpitrain.missing", "mpitrain.missing"),
        ("missing-in-the-nav.md", "# A page", "missing-in-the-nav.md"),
    ],
)
def test_mistakes_are_errors(small_site, tmp_path, page, text, message):
    shutil.copytree(small_site, tmp_path, dirs_exist_ok=True)
    (tmp_path / "docs" / page).write_text(text, encoding="utf-8")
    done = build(tmp_path)
    assert done.returncode != 0
    assert message in done.stderr


@needs_docs
def test_every_option_is_on_a_page():
    pages = load("command_line").pages()
    for place, found in find_places().items():
        name = place.partition(" ")[0]
        for option in found.options if name else ():
            for flag in option.flags:
                assert flag.startswith("--no-") or f"`{flag}`" in pages[f"reference/command-line/{name}.md"], flag


@needs_docs
def test_examples_of_stage():
    result = doctest.testmod(load("stage"))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_options_in_pages_exist(path):
    """Each option in code that begins with -- or with mpitrain, on a page, is one of a command."""
    known = {flag for place in find_places().values() for option in place.options for flag in option.flags} | {"--help"}
    text = path.read_text(encoding="utf-8")
    spans = re.findall(r"`(-(?:-[a-z]+)+[^`]*|(?:mpirun .*)?mpitrain [^`]*)`", text)
    spans += re.findall(r"^    ((?:mpirun .*)?(?:python -m )?mpitrain .*)$", text, re.M)
    used = {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)}
    assert used - known - FOREIGN == set()


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_pages_exist(path):
    text = path.read_text(encoding="utf-8")
    places = find_places()
    for first, second in re.findall(r"(?:^    |`)(?:mpirun [^`\n]*)?mpitrain ([a-z]+)(?: ([a-z]+))?", text, re.M):
        assert first in COMMANDS, first
        if places[first].commands and second:
            assert second in places[first].commands, f"{first} {second}"


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=str)
def test_files_in_pages_exist(path):
    """Each path of a source file in code, from the top of the repository, of the package or of the kernels."""
    for name in re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|cu|cuh|c|h|sh))`", path.read_text(encoding="utf-8")):
        parts = name.split("/")
        fixed = [part for part in parts if not re.search("[A-Z]{4}", part)]  # capitals stand for any name
        assert any(ROOT.joinpath(base, *fixed).exists() for base in ("", "mpitrain", "kernels")), name


def test_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 4
    for link in links:
        assert (ROOT / link).is_file(), link


def test_links_of_the_package_description_are_absolute(monkeypatch):
    """Relative links are broken on PyPI."""
    found = {}
    setuptools = types.SimpleNamespace(setup=found.update, Extension=lambda *args, **options: None)
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    description = found["long_description"]
    links = re.findall(r"\]\(([^)]+)\)", description)
    images = re.findall(r"!\[[^]]*\]\(([^)]+)\)", description)
    assert len(links) > 4
    assert images
    for link in links:
        kind = "/raw/main/" if link in images else "/blob/main/"
        base, found, path = link.partition(kind)
        assert (base, found) == (REPOSITORY, kind), link
        assert (ROOT / path).is_file(), link


def test_citation():
    """The keys that the schema of CITATION.cff 1.2.0 requires, and the version."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert isinstance(citation["message"], str)
    assert isinstance(citation["title"], str)
    assert citation["authors"]
    assert all(set(author) & {"name", "family-names", "given-names", "alias"} for author in citation["authors"])
    assert citation["type"] == "software"
    assert citation["version"] == mpitrain.__version__
    allowed = {"abstract", "authors", "cff-version", "contact", "date-released", "doi", "identifiers", "keywords"}
    allowed |= {"license", "message", "preferred-citation", "references", "repository-code", "title", "type", "url"}
    assert set(citation) <= allowed | {"version"}
