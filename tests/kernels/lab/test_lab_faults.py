"""The lab finds accesses outside of arrays, misaligned ones and kernels that do not end."""

import re

import pytest

from tests.kernels import cpu
from tests.kernels.lab.examples import line_of, planted, the_fault

pytestmark = [cpu.needs_gxx, pytest.mark.timeout(600)]  # the first one builds the shim


@pytest.mark.parametrize(
    ("guard", "element"), [("true", r"a\[\d+\]"), ("i <= n", r"a\[\d+\]")], ids=["no guard", "one too many"]
)
def test_beyond_the_end(tmp_path, guard, element):
    report = planted(tmp_path, "add", ("i < n", guard))
    fault = the_fault(report, "outside")
    assert re.fullmatch(element, fault.details["element"])
    assert fault.details["index"] >= fault.details["count"]
    assert fault.details["arrays"] == ["a", "b", "out"]
    assert {line for _, line, _ in fault.accesses} == {line_of(report, "out[i] =")}
    past = fault.details["index"] - fault.details["count"] + 1
    assert f"this is {past} past the last" in fault.title


def test_before_the_begin(tmp_path):
    report = planted(tmp_path, "add", ("a[i] + b[i]", "a[i - 1] + b[i]"))
    assert the_fault(report, "outside").title == "out of bounds: a[-1]; 1 element before the first"
    assert report.wrong is not None


def test_far_beyond(tmp_path):
    fault = the_fault(planted(tmp_path, "add", ("a[i] + b[i]", "a[i + 1000000000] + b[i]")), "stopped")
    assert re.search(r"far outside of its arrays: 3,9[\d,]+ bytes past them", fault.title)


def test_beyond_a_shared_array(tmp_path):
    report = planted(tmp_path, "row_sum", ("partial[t + half]", "partial[t + 2 * half]"))
    fault = the_fault(report, "dimension")
    assert "float [256]" in fault.title
    assert fault.accesses[0][1] == line_of(report, "2 * half")


def test_beyond_a_shared_array_by_a_pointer(tmp_path):
    report = planted(
        tmp_path, "row_sum", ("partial[t] = sum;", "float* p = partial;\n  p[t + 1] = sum;\n  partial[t] = sum;")
    )
    assert the_fault(report, "outside").details["element"] == "partial[256]"


def test_beyond_a_local_array(tmp_path):
    changes = ("c < EACH; c++) sums", "c <= EACH; c++) sums")
    assert "float [4]" in the_fault(planted(tmp_path, "register_product", changes), "dimension").title


def test_a_misaligned_vector(tmp_path):
    vector = "const float4 v = *reinterpret_cast<const float4*>(a + i); out[i] = v.x + b[i]"
    fault = the_fault(
        planted(tmp_path, "add", ("if (i < n) out[i] = a[i] + b[i]", f"if (i + 3 < n) {{ {vector}; }}")), "misaligned"
    )
    assert "16 bytes" in fault.title
    pair = "struct Pair { float x, y; }; const Pair p = *reinterpret_cast<const Pair*>(a + i); out[i] = p.x + b[i]"
    change = ("if (i < n) out[i] = a[i] + b[i]", f"if (i + 1 < n) {{ {pair}; }} else if (i < n) out[i] = a[i] + b[i]")
    assert planted(tmp_path, "add", change).right  # a GPU loads it in two words


def test_a_loop_that_does_not_end(tmp_path):
    changes = ("half > 0; half /= 2", "half >= 0; half /= 2")
    report = planted(tmp_path, "row_sum", changes, seconds=1)
    fault = the_fault(report, "stopped")
    assert "does not end" in fault.title
    report = planted(tmp_path, "add", ("if (i < n)", "for (int j = 1; j < n; j *= 1) {}\n  if (i < n)"), seconds=1)
    assert the_fault(report, "stopped").accesses[0][1] == line_of(report, "j *= 1")


def test_other_ends(tmp_path):
    report = planted(tmp_path, "add", ("a[i] + b[i]", "a[i / (n - n)] + b[i]"))
    assert "division by zero" in the_fault(report, "stopped").title
    report = planted(tmp_path, "add", ("a[i] + b[i]", "*(const float*)nullptr + b[i]"))
    assert "null pointer" in the_fault(report, "stopped").title
