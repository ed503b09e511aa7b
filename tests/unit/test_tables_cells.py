import math

import numpy as np
import pytest

from mpitrain.data.tables.cells import CellFormat, Kind

COMMA = CellFormat(decimal=",")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1),
        (" -2.5 ", -2.5),
        ("+.5", 0.5),
        ("1.", 1),
        ("1e-3", 1e-3),
        ("007", 7),
        ("4.9e-324", 5e-324),
        ("-0", -0.0),
    ],
)
def test_numbers(cell, value):
    (found,), (kind,) = CellFormat().interpret([cell])
    assert (kind, found, math.copysign(1, found)) == (Kind.NUMBER, value, math.copysign(1, value))


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("", Kind.EMPTY), ("  ", Kind.EMPTY), ("NA", Kind.MISSING), ("N/A", Kind.MISSING), ("null", Kind.MISSING),
        ("NULL", Kind.MISSING), ("None", Kind.MISSING), ("NaN", Kind.MISSING), ("#N/A", Kind.MISSING),
        ("-", Kind.MISSING), ("#DIV/0!", Kind.MISSING), ("#VALUE!", Kind.MISSING), ("?", Kind.MISSING),
        ("True", Kind.BOOLEAN), ("FALSE", Kind.BOOLEAN), ("inf", Kind.INFINITE), ("-Infinity", Kind.INFINITE),
        ("1e999", Kind.INFINITE), ("2020_01", Kind.TEXT), ("\u0661\u0662", Kind.TEXT), ("\uff11", Kind.TEXT),
        ("1,5", Kind.TEXT), ("$5", Kind.TEXT), ("12%", Kind.TEXT), ("0x10", Kind.TEXT), ("1e", Kind.TEXT),
        (".", Kind.MISSING), ("e5", Kind.TEXT), ("1 2", Kind.TEXT), ("nan(1)", Kind.TEXT), ("yes", Kind.TEXT),
    ],
)  # fmt: skip
def test_kinds(cell, kind):
    assert CellFormat().interpret([cell])[1][0] == kind
    assert CellFormat().floats([cell, "1"]) is None


@pytest.mark.parametrize(
    ("cell_format", "cell", "value"),
    [
        (COMMA, "1,5", 1.5),
        (COMMA, "1.5", None),
        (CellFormat(thousands=","), "1,234.5", 1234.5),
        (CellFormat(thousands=","), "-12,345,678", -12345678),
        (CellFormat(thousands=","), "1,23", None),
        (CellFormat(thousands=","), "1234,567", None),
        (CellFormat(thousands=","), "1234", 1234),
        (CellFormat(decimal=",", thousands="."), "1.234,5", 1234.5),
        (CellFormat(decimal=",", thousands="."), "1.5", None),
        (CellFormat(thousands=" \u00a0\u202f"), "1\u202f234\u00a0567", 1234567),
        (CellFormat(strip="$"), "$5", 5),
        (CellFormat(strip="$"), "-$5", -5),
        (CellFormat(strip="$"), "$-5", -5),
        (CellFormat(strip="$"), "-$-5", None),
        (CellFormat(strip="%"), "12 %", 12),
        (CellFormat(strip="€", decimal=",", thousands="."), "1.234,50 €", 1234.5),
        (CellFormat(strip="$"), "5%", None),
        (CellFormat(strip="$"), "$", None),
    ],
)
def test_notations(cell_format, cell, value):
    assert cell_format.number(cell) == value


def test_other_marks_of_missing_values():
    (missing,), (kind,) = CellFormat(missing=frozenset(["-999"])).interpret(["-999"])
    assert (kind, math.isnan(missing)) == (Kind.MISSING, True)
    assert CellFormat(missing=frozenset(["-999"])).interpret(["NA", "-999.0", ""])[1].tolist() == [
        Kind.TEXT, Kind.NUMBER, Kind.EMPTY,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("1,234", ["thousands=comma", "decimal=comma"]),
        ("1.234,5", ["decimal=comma,thousands=point"]),
        ("1,5", ["decimal=comma"]),
        ("$5", ["strip=$"]),
        ("12%", ["strip=%"]),
        ("$1,234.50", ["thousands=comma,strip=$"]),
        ("1 234", ["thousands=space"]),
        ("1'234", ["thousands=apostrophe"]),
        ("x", []),
        ("2020_01", []),
        ("12 kg", []),
    ],
)
def test_hints(cell, options):
    assert [option for option, _ in CellFormat().other_notations(cell)] == options


def test_quick_and_slow_agree():
    rng = np.random.default_rng(3)
    cells = [repr(v) for v in (rng.normal(size=200) * 10.0 ** rng.integers(-30, 30, 200)).tolist()]
    quick = CellFormat().floats(cells)
    assert quick is not None
    assert quick.tobytes() == np.array([CellFormat().number(cell) for cell in cells]).tobytes()
    commas = [cell.replace(".", ",") for cell in cells]
    assert COMMA.floats(commas).tobytes() == quick.tobytes()
