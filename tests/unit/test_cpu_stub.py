"""The typed stub of the extension in C agrees with the table of kernels and with the extension."""

import ast
import configparser
import re

import pytest

from mpitrain import cpu_kernels
from scripts.make_cpu_stub import STUB, stub


def test_the_stub_is_that_of_the_table():
    assert STUB.read_text() == stub(), "run: python scripts/make_cpu_stub.py"


def test_the_extension_has_these_functions(kernels):
    functions = {node.name: node for node in ast.parse(stub()).body if isinstance(node, ast.FunctionDef)}
    assert len(functions) > 40
    assert set(functions) == {name for name in dir(kernels) if callable(getattr(kernels, name)) and name[0] != "_"}
    for name, node in functions.items():
        names = [argument.arg for argument in node.args.posonlyargs]
        count = len(names)
        ours = re.escape(f"{name} takes ({', '.join(names)}), {count} arguments, not {count + 1}")
        # Python's own message, for the few functions that are not kernels
        pythons = rf"[\w.]*\b{name}\(\) takes (no|exactly one) arguments? \({count + 1} given\)"
        with pytest.raises(TypeError, match=f"^({ours}|{pythons})$"):
            getattr(kernels, name)(*[None] * (count + 1))


def test_the_stub_is_in_the_wheel():
    settings = configparser.ConfigParser()
    settings.read(STUB.parent.parent / "setup.cfg")
    assert {"py.typed", STUB.name} <= set(settings["options.package_data"]["mpitrain"].split())


def test_the_build_is_that_of_this_package(kernels):
    assert kernels.BUILD == cpu_kernels.BUILD
