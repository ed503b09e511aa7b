"""The command of the lab: its output, a GPU, tasks of a teacher."""

import json
import re

import pytest

from mpitrain.errors import UserError
from tests.gpu.device import ShimDevice
from tests.kernels import cpu
from tests.kernels.lab.examples import SOLVED, STARTERS, run

pytestmark = [cpu.needs_gxx, pytest.mark.timeout(600)]  # the first one builds the shim


def test_the_command(capfd, tmp_path):
    code, out, _ = run(capfd, SOLVED["transpose"], "--seeds", 1)
    assert code == 0
    assert out.endswith("right, and no fault was found, and the goals are reached\n")
    code, out, _ = run(capfd, STARTERS[2], "--seeds", 1, "--svg", tmp_path / "x.svg")
    assert code == 1
    assert "32 sectors of out, 1,024 bytes, where 4 would hold" in out
    assert "H100: at most 100% of the speed of a copy by load units and banks, and 22% by memory" in out
    assert (tmp_path / "x.svg").read_text().startswith("<svg")
    code, out, _ = run(capfd, STARTERS[0], "--seeds", 1, "--json")
    table = json.loads(out)
    assert code == 1
    assert table["faults"][0]["kind"] == "outside"
    assert table["lines"]


def test_exercises(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capfd, "--list")
    assert code == 0
    assert "transpose" in out
    code, out, _ = run(capfd, "--new", 1)
    assert code == 0
    assert (tmp_path / "exercise1_add.cu").read_text() == STARTERS[0].read_text()
    code, _, err = run(capfd, "--new", 1)
    assert code == 2
    assert err == "mpitrain: exercise1_add.cu exists already; name another file: --new 1 FILE.cu\n"
    assert run(capfd, "--new", 9)[0] == 2


def test_other_refusals(capfd, tmp_path, monkeypatch):
    code, _, err = run(capfd, tmp_path / "none.cu")
    assert (code, err) == (2, f"mpitrain: {tmp_path}/none.cu cannot be read: No such file or directory\n")
    assert run(capfd)[0] == 2
    assert run(capfd, STARTERS[0], "--seeds", 0)[0] == 2
    (tmp_path / "file").touch()
    monkeypatch.setenv("MPITRAIN_KERNELS", str(tmp_path / "file"))
    code, _, err = run(capfd, STARTERS[0])
    assert (code, err) == (
        2,
        f"mpitrain: the lab cannot be kept in {tmp_path}/file: Not a directory; set MPITRAIN_KERNELS\n",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(capfd, STARTERS[0])
    assert code == 2
    assert "needs g++" in err


def test_the_same_file_on_a_gpu(capfd, tmp_path, monkeypatch):
    device = ShimDevice()
    monkeypatch.setattr("mpitrain.device.open_gpu", lambda task: device)
    code, out, _ = run(capfd, SOLVED["transpose"], "--gpu", "--seeds", 1)
    assert code == 0
    assert out.splitlines()[1] == "  rows = 33, cols = 17: right"
    assert device.launches["transpose"] == 7
    (tmp_path / "mine.cu").write_text(SOLVED["add"].read_text().replace('extern "C" ', "").replace("+ b", "- b"))
    code, out, _ = run(capfd, tmp_path / "mine.cu", "--gpu", "--seeds", 1)
    assert code == 1
    assert re.search(r"  n = 32: out\[0\] is \S+, not ", out)


def test_without_a_gpu(capfd, monkeypatch):
    def none(task):
        raise UserError(f"{task} here: no GPU")

    monkeypatch.setattr("mpitrain.device.open_gpu", none)
    code, _, err = run(capfd, STARTERS[0], "--gpu")
    assert (code, err) == (2, f"mpitrain: {STARTERS[0]} cannot run on a GPU here: no GPU\n")


OWN = """
from mpitrain.kernels.lab.task import Task

smooth = Task(
    name="smooth", formula="out[i] = x[i] / 2", inputs={"x": ("n",)}, outputs={"out": ("n",)}, sizes=("n",),
    reference=lambda x: x / 2, cases=((1,), (300,)), counted=(512,), grid="ceil(n / 256)", block="256",
)
short = Task(**{**vars(smooth), "reference": lambda x: x[1:]})
"""

SMOOTH = """__global__ void half(const float *x, float *y, int size) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) y[i] = x[i] / 2;
}
"""


def test_a_task_of_a_teacher(capfd, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "half.cu").write_text(SMOOTH)
    assert run(capfd, tmp_path / "half.cu", "--task", f"{tmp_path}/own.py:smooth", "--json")[0] == 0
    (tmp_path / "half.cu").write_text(SMOOTH.replace("if (i < size) ", ""))
    code, out, _ = run(capfd, tmp_path / "half.cu", "--task", f"{tmp_path}/own.py:smooth")
    assert code == 1
    assert re.search(r"line 3    thread \d+ of block 0 writes y\[\d+\] +y\[i\] = x\[i\] / 2;", out)
    code, _, err = run(capfd, tmp_path / "half.cu", "--task", f"{tmp_path}/own.py:short")
    assert (code, err) == (2, "mpitrain: the reference of task smooth returns (0,), but out is (1,)\n")
    for name, words in (
        ("own.py:none", "has no Task called none"),
        ("add", "must be half(const float* a"),
        ("x", "no task x"),
    ):
        code, _, err = run(
            capfd, tmp_path / "half.cu", "--task", name if name in ("add", "x") else f"{tmp_path}/{name}"
        )
        assert code == 2
        assert words in err
