"""The session of tests on a GPU (tests/gpu/session/main.py), with tests that fail, hang and die in place of those."""

import json

import pytest

from tests.gpu.session import main as session
from tests.gpu.session.main import Session, Stage, parse
from tests.gpu.session.results import Results

TESTS = """
import os, time
import numpy as np
import pytest
from mpitrain.kernels import launch
from mpitrain.kernels.kernel import kernel
from mpitrain.kernels.plan import Launch

class Device:
    arch, capturing = "sm_80", False
    def load(self, kernel, cubin, shared_bytes):
        return kernel
    def launch(self, function, grid, block, shared_bytes, arguments):
        pass
    def synchronize_current(self):
        time.sleep(60)

@pytest.mark.parametrize("size", [(8, 8), (2, 3), (100, 1)])
def test_sizes(size):
    pass

def test_fails():
    assert 1 == 2

def test_skips():
    pytest.skip("no such thing")

def test_hangs():
    arguments = np.array(7, np.int32), np.zeros((3, 5), np.float32)
    device = Device()
    launch.launch(device, kernel("gemm_sum.cu"), Launch((2, 3, 1), (64, 1, 1), 128), arguments)
    device.synchronize_current()

def test_dies():
    os._exit(9)

def test_last():
    pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "test_these.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--gpu')\n")
    monkeypatch.setitem(session.LAUNCH_SECONDS, "cuda", 0.5)
    monkeypatch.setitem(session.TEST_SECONDS, "cuda", 2)
    monkeypatch.setattr(session, "GRACE_SECONDS", 1)
    return tmp_path


def run(folder, *stages, argv=()):
    """Return the exit code, {test: outcome} in the order of the ends, and all lines."""
    made = Session(parse(["--out", str(folder / "out"), *argv]))
    code = made.run(stages)
    lines = made.results.lines()
    return code, {line["test"].split("::")[-1]: line["outcome"] for line in lines if line["what"] == "end"}, lines


def stage(folder, name="one", *arguments, **options):
    return Stage(name, "it tells", (str(folder / "test_these.py"), *arguments), **options)


@pytest.mark.parametrize("watched", [True, False])
def test_a_hang_loses_nothing(folder, capsys, watched):
    code, outcomes, lines = run(folder, stage(folder, watched=watched))
    assert code == 1
    assert outcomes == {
        "test_fails": "failed",
        "test_skips": "skipped",
        "test_hangs": "died",
        "test_dies": "died",
        "test_last": "passed",
        "test_sizes[size1]": "passed",
        "test_sizes[size0]": "passed",
        "test_sizes[size2]": "passed",
    }
    said = [line["why"] for line in lines if line.get("test", "").endswith("test_hangs") and line["what"] == "end"]
    assert (
        "gemm_sum.cu:gemm_sum has not ended after 0.5 s: grid (2, 3, 1), block (64, 1, 1), 128 bytes of shared "
        "memory; arguments: 7, float32 (3, 5)"
    ) in said[-1], "watched at once, or again after it hung"
    out = capsys.readouterr().out
    assert "| one | 4 | 3 | 1 | 0 |" in out
    assert "assert 1 == 2" in out
    assert "it ended the process (exit code 9)" in out


def test_the_smallest_cases_come_first_and_as_many_as_are_asked_for(folder):
    code, outcomes, _ = run(folder, stage(folder, "one", "-k", "sizes"), argv=["--cases", "2"])
    assert list(outcomes) == ["test_sizes[size1]", "test_sizes[size0]"]
    assert code == 0


def test_the_rest_is_what_no_other_stage_has_run(folder):
    first = stage(folder, "one", "-k", "sizes or last")
    _, _, lines = run(folder, first, stage(folder, "rest", "-k", "sizes or skips"))
    assert [line["test"].split("::")[-1] for line in lines if line["what"] == "begin" and line["stage"] == "rest"] == [
        "test_skips"
    ]


def test_time_that_is_over(folder, capsys, monkeypatch):
    (folder / "test_these.py").write_text(
        "import time, pytest\n@pytest.mark.parametrize('n', range(1, 40))\ndef test_slow(n):\n    time.sleep(0.5)\n"
    )
    monkeypatch.setattr(Session, "left", lambda self: max(0.0, 8 - (session.time.monotonic() - self.begin)))
    code, outcomes, lines = run(folder, stage(folder, "one"), stage(folder, "two"))
    assert code == 0, "what there was no time for is no failure"
    assert {line["stage"] for line in lines if line["what"] == "cut"} == {"one", "two"}
    assert 2 <= len([line for line in lines if line["what"] == "end"]) < 40
    assert set(outcomes.values()) <= {"passed", "cut off"}


def test_a_file_that_cannot_be_read_is_a_failure(folder, capsys):
    (folder / "test_these.py").write_text("import nothing_like_this\n")
    code, _, lines = run(folder, stage(folder))
    assert code == 1
    assert "nothing_like_this" in next(line["why"] for line in lines if line["what"] == "error")


def test_what_is_not_installed_is_left_out(folder, capsys):
    code, _, _ = run(folder, stage(folder, before=("no-such-tool", "--tool")))
    assert code == 0
    assert "left out: no-such-tool is not installed" in capsys.readouterr().out


def test_half_a_line_is_no_result(tmp_path):
    results = Results(tmp_path / "results.jsonl")
    results.add(stage="one", what="begin", test="a")
    with open(results.path, "a") as file:
        file.write(json.dumps({"stage": "one", "what": "end"})[:-5])
    assert results.unfinished("one") == "a"
