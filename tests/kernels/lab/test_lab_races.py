"""The lab finds races, barriers that not all reach, and undefined memory where they were planted."""

import re

import pytest

from tests.kernels import cpu
from tests.kernels.lab.examples import SOLVED, examine, line_of, planted, the_fault

pytestmark = [cpu.needs_gxx, pytest.mark.timeout(600)]  # the first one builds the shim


def test_a_missing_barrier(tmp_path):
    report = planted(tmp_path, "transpose", ("  __syncthreads();\n", ""))
    fault = the_fault(report, "race")
    assert [line for _, line, _ in fault.accesses] == [line_of(report, "= x[row"), line_of(report, "= tile[")]
    write, read = (words for words, _, _ in fault.accesses)
    y, x = re.fullmatch(r"tile\[(\d+)\]\[(\d+)\]", fault.details["element"]).groups()
    assert write == f"thread ({x}, {y}) writes it"
    assert read == f"thread ({y}, {x}) reads it"
    assert [fault.kind for fault in report.faults] == ["race"]  # reads of undefined words are its consequence


def test_a_missing_second_barrier(tmp_path):
    """The accesses of two turns of the loop race, and the race is found in whatever order threads run."""
    report = planted(tmp_path, "tiled_product", ("b_tile[i][x];\n    __syncthreads();", "b_tile[i][x];"))
    assert {fault.details["array"] for fault in report.faults} == {"a_tile", "b_tile"}
    assert {fault.kind for fault in report.faults} == {"race"}


def test_a_race_of_blocks(tmp_path):
    report = planted(tmp_path, "row_sum", ("if (t == 0) out[row]", "if (t == 0) out[0]"))
    assert "two blocks" in the_fault(report, "race").title
    assert "atomicAdd" in the_fault(report, "race").advice


def test_atomics_do_not_race(tmp_path):
    text = SOLVED["row_sum"].read_text()
    body = "  if (t < 1) partial[0] = 0;\n  __syncthreads();\n  atomicAdd(&partial[0], sum);\n  __syncthreads();\n"
    text = text[: text.index("  partial[t] = sum;")] + body + text[text.index("  if (t == 0) out") :]
    (tmp_path / "sum.cu").write_text(text)
    assert examine(tmp_path / "sum.cu").right


def test_lanes_of_a_warp_need_syncwarp(tmp_path):
    """A shuffle orders no memory, __syncwarp does."""
    tree = """  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
    __syncthreads();
  }
"""
    warps = """  for (int half = THREADS / 2; half >= 32; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
    __syncthreads();
  }
  for (int half = 16; half > 0 && t < 32; half /= 2) {
    const float other = partial[t + half];
    __syncwarp();
    partial[t] += other;
    __syncwarp();
  }
"""
    assert planted(tmp_path, "row_sum", (tree, warps)).right
    without = warps.replace(
        "    partial[t] += other;\n    __syncwarp();", "    partial[t] += __shfl_sync(~0u, other, t);"
    )
    assert planted(tmp_path, "row_sum", (tree, without)).faults[0].kind == "race"


def test_undefined_shared_memory(tmp_path):
    report = planted(
        tmp_path,
        "tiled_product",
        (
            "a_tile[y][x] = row < m && k0 + x < k ? a[row * k + k0 + x] : 0",
            "if (row < m && k0 + x < k) a_tile[y][x] = a[row * k + k0 + x]",
        ),
    )
    fault = the_fault(report, "undefined")
    assert fault.details["array"] == "a_tile"
    assert fault.accesses[0][1] == line_of(report, "sum +=")


def test_a_result_that_begins_undefined(tmp_path):
    report = planted(tmp_path, "add", ("out[i] = ", "out[i] += "))
    assert "memory from cudaMalloc" in the_fault(report, "undefined").title


def test_threads_that_return_before_a_barrier(tmp_path):
    report = planted(
        tmp_path, "tiled_product", ("  float sum = 0;", "  if (row >= m || col >= n) return;\n  float sum = 0;")
    )
    titles = [fault.title for fault in report.faults if fault.kind == "ended"]
    assert re.search(r"is not reached by (16|240|255) of the 256 threads of block", titles[0])


def test_a_barrier_in_a_branch(tmp_path):
    report = planted(
        tmp_path,
        "row_sum",
        ("+= partial[t + half];\n    __syncthreads();", "+= partial[t + half], __syncthreads();"),
        (
            "if (t < half) partial[t] += partial[t + half], __syncthreads();",
            "if (t < half) { partial[t] += partial[t + half]; __syncthreads(); }",
        ),
    )
    assert {"race", "ended"} & {fault.kind for fault in report.faults}
    report = planted(
        tmp_path,
        "row_sum",
        (
            "  partial[t] = sum;\n  __syncthreads();",
            "  partial[t] = sum;\n  if (t < 100)\n    __syncthreads();\n  else\n    __syncthreads();",
        ),
    )
    assert "at once" in the_fault(report, "barrier").title
