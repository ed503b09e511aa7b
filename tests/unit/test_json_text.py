import ast
import json
import math
from pathlib import Path

import numpy as np

import mpitrain
from mpitrain.json_text import to_json

ODD = {"nan": math.nan, "list": [1, (math.inf, "x")], "deep": {"low": -math.inf, "numpy": np.float64("nan")}, "ok": 0.1}


def strict(text):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_is_not_finite_becomes_null_or_words():
    assert strict(to_json(ODD)) == {
        "nan": None,
        "list": [1, [None, "x"]],
        "deep": {"low": None, "numpy": None},
        "ok": 0.1,
    }
    words = strict(to_json(ODD, words=True))
    assert words == {
        "nan": "NaN",
        "list": [1, ["Infinity", "x"]],
        "deep": {"low": "-Infinity", "numpy": "NaN"},
        "ok": 0.1,
    }
    assert float(words["list"][1][0]) == math.inf
    assert math.isnan(float(words["nan"]))


def test_all_else_is_as_json_has_it():
    value = {"a": [1, 2.5, "ä\udcff", None, True], "b": {}}
    assert to_json(value) == json.dumps(value)
    assert to_json(value, indent=2) == json.dumps(value, indent=2)


def test_everything_is_written_by_it():
    """The player's page holds a script, not JSON; nothing else calls json.dumps by itself."""
    allowed = {"json_text.py", "page.py"}
    for path in Path(mpitrain.__file__).parent.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
        found = [node for node in calls if node.attr in ("dump", "dumps") and ast.unparse(node.value) == "json"]
        assert path.name in allowed or not found, path
