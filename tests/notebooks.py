"""Notebooks of the labs: their code cells, run without Jupyter."""

import contextlib
import io
import json
import linecache
import re


def code_cells(path):
    """Return (source, tags) of the code cells of a notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    return [("".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]


def run_notebook(path, replace=None):
    """Run the code cells, with each exercise's function replaced by that of ``replace``; return (tags, output)."""
    namespace, results = {"__name__": "__main__"}, []
    for number, (source, tags) in enumerate(code_cells(path)):
        file = f"<cell {number}>"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # as IPython does
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(source, file, "exec"), namespace)
        if replace and "exercise" in tags:
            name = name_of(source)
            namespace[name] = replace[name]
        results.append((tags, output.getvalue()))
    return results


def name_of(source):
    """Return the name of the function that a cell defines."""
    return re.search(r"^def (\w+)", source, re.M)[1]


def body_of(path):
    """Return the function of a starter file, without annotations and docstring, as it is in a notebook."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'^    """.*"""\n', "", text[text.index("\n\n\n") :].strip(), flags=re.M)
    return re.sub(r": int(?=[,)])|(?<=\)) -> Iterator\[\w+\]", "", text)
