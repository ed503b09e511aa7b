"""The typed stub of the extension in C agrees with the table of kernels and with the extension."""

import ast

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
        if name not in ("level", "levels", "threads"):
            with pytest.raises(TypeError):
                getattr(kernels, name)(*[None] * (len(node.args.posonlyargs) + 1))


def test_the_build_is_that_of_this_package(kernels):
    assert kernels.BUILD == cpu_kernels.BUILD
