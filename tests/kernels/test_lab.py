"""The lab finds each kind of fault where it was planted, and none in kernels that are right."""

import json
import re
from xml.etree import ElementTree

import pytest

from mpitrain.cli.course.start import LABS
from mpitrain.cli.main import main
from mpitrain.errors import UserError
from mpitrain.kernels.lab.drawing import draw_svg
from mpitrain.kernels.lab.picture import draw_banks
from mpitrain.kernels.lab.report import report_of
from mpitrain.kernels.lab.run import run_all
from mpitrain.kernels.lab.sentences import percent
from mpitrain.kernels.lab.source import Source
from mpitrain.kernels.lab.tasks import find_task, tasks_named_by
from tests.gpu.device import ShimDevice
from tests.kernels import cpu, tools
from tests.kernels.machine_code import build

pytestmark = [cpu.needs_gxx, pytest.mark.timeout(600)]  # the first one builds the shim
FOLDER = LABS["kernels"].folder
STARTERS = sorted(FOLDER.glob("exercise*.cu"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.cu"))
RUNGS = sorted((cpu.KERNELS / "ladder").glob("gemm_0[1-7]*.cu"))
SOLVED = {path.stem.partition("_")[2]: path for path in SOLUTIONS}


@pytest.fixture(autouse=True)
def _cache(monkeypatch):
    monkeypatch.setenv("MPITRAIN_KERNELS", str(cpu.BUILT))


def examine(path, seeds=1, seconds=20):
    source = Source(path)
    task, entry = find_task(source)
    return report_of(source, task, entry, run_all(source, task, entry, seeds=seeds, seconds=seconds))


def planted(tmp_path, name, *changes, **options):
    """Examine a solution with changes."""
    text = SOLVED[name].read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (tmp_path / f"{name}.cu").write_text(text)
    return examine(tmp_path / f"{name}.cu", **options)


def the_fault(report, kind):
    (found,) = [fault for fault in report.faults if fault.kind == kind]
    return found


def line_of(report, text):
    (number,) = [i for i, line in enumerate(report.source.lines, 1) if text in line]
    return number


@pytest.mark.parametrize("path", RUNGS, ids=lambda path: path.stem)
def test_no_fault_in_a_rung(path):
    report = examine(path)
    assert report.passed, [fault.title for fault in report.faults]
    rows = dict(re.findall(r"^\| (\d) \| (\S+ \| \S+) \| [\d.]+ \|$", (cpu.ROOT / "docs/kernels.md").read_text(), re.M))
    bound = report.counts.bounds()[0]
    assert rows[path.stem[len("gemm_0")]] == f"{percent(bound.by_units)} | {percent(bound.by_merged)}"


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_passes(path):
    report = examine(path, seeds=2)
    assert report.goals
    assert report.passed, ([fault.title for fault in report.faults], report.missed)


@pytest.mark.parametrize("path", STARTERS, ids=lambda path: path.stem)
def test_a_starter_is_refused_as_the_note_says(path, capfd):
    number = path.stem[len("exercise")]
    (message,) = re.findall(rf"^\| {number} \| `(.*?)` \|", (FOLDER / "instructor.md").read_text(), re.M)
    code, out, _ = run(capfd, path)
    assert code == 1
    assert message in out
    assert f"mpitrain kernel lab {path.name}" in (FOLDER / "README.md").read_text()


def test_the_bounds_in_the_notes():
    starter, solution = STARTERS[3], [SOLVED["tiled_product"], SOLVED["register_product"]]
    rows = re.findall(r"^\| \d, (?:starter|solution) \| (.*) \|$", (FOLDER / "instructor.md").read_text(), re.M)
    for path, row in zip([starter, *solution], rows, strict=True):
        counts = examine(path).counts
        bound = counts.bounds()[0]
        loads = [f"{counts.rates[f'{space} loads']:.3g}" for space in ("global", "shared")]
        assert row.split(" | ") == [*loads, percent(bound.by_units), percent(bound.by_memory)]


def test_every_starter_has_a_solution():
    assert [path.name for path in STARTERS] == [path.name for path in SOLUTIONS]
    assert len(STARTERS) == 5


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


def test_a_launch_that_is_too_large(tmp_path):
    """A loop that does not end is not to blame."""
    report = planted(tmp_path, "add", ("ceil(n / 256)", "1000000000"), seconds=1)
    fault = the_fault(report, "stopped")
    assert "its time is over" in fault.title
    assert "256,000,000,000 threads" in fault.advice
    assert all(0 < line <= len(report.source.lines) for _, line, _ in fault.accesses)


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("transpose_padded", ["transpose"]),  # though there is an add in it
        ("vectorAdd", ["add"]),
        ("rowSums", ["row_sum"]),
        ("sgemm", ["product"]),
        ("matrixMul", ["product"]),
        ("sum_product", ["row_sum", "product"]),
        ("scale", []),
    ],
)
def test_the_task_that_a_name_tells(name, tasks):
    assert [task.name for task in tasks_named_by(name)] == tasks


@pytest.mark.parametrize(
    "parameters",
    [
        "const float* __restrict__ a, const float *__restrict b, float* __restrict__ out, int n",
        "float const* a, float const *b, float *out, const int n",
    ],
)
def test_ways_to_write_parameters(tmp_path, parameters):
    (tmp_path / "mine.cu").write_text(f"__global__ void add({parameters}) {{}}\n")
    _, entry = find_task(Source(tmp_path / "mine.cu"))
    assert [name for _, name in entry.parameters] == ["a", "b", "out", "n"]


def test_other_ends(tmp_path):
    report = planted(tmp_path, "add", ("a[i] + b[i]", "a[i / (n - n)] + b[i]"))
    assert "division by zero" in the_fault(report, "stopped").title
    report = planted(tmp_path, "add", ("a[i] + b[i]", "*(const float*)nullptr + b[i]"))
    assert "null pointer" in the_fault(report, "stopped").title


def test_bank_conflicts(tmp_path):
    report = planted(tmp_path, "transpose", ("[TILE + 1]", "[TILE]"))
    assert report.right
    ((goal, rate),) = report.missed
    assert (goal.count, rate) == ("shared transactions", 32)
    line = max(report.counts.lines, key=lambda line: line.ratio)
    assert (line.line, line.array, line.worst, line.worst_least) == (line_of(report, "= tile["), "tile", 32, 1)


def test_ladder_counts():
    """Rung 6 meets in the same banks by half, rung 7 does not: what their headers say."""
    ratios = {}
    for path in RUNGS[-2:]:
        report = examine(path)
        line = max(
            (ln for ln in report.counts.lines if ln.array == "b_tile" and ln.way == "load"), key=lambda ln: ln.ratio
        )
        ratios[path.stem] = line.ratio, line.bytes
    assert ratios == {"gemm_06_vectorized": (2, 16), "gemm_07_warp_tile": (1, 16)}


def test_counts_of_the_naive_product():
    counts = examine(RUNGS[0]).counts
    by_array = {line.array: line for line in counts.lines}
    assert (by_array["a"].worst, by_array["a"].worst_least, by_array["b"].worst) == (32, 4, 1)
    assert counts.rates["global loads"] == 2
    h100 = examine(RUNGS[1]).counts.bounds()[0]
    assert h100.by_units == pytest.approx(
        0.125, rel=0.01
    )  # two loads of a turn each, for a quarter of a clock of products


def run(capfd, *argv):
    code = main(["kernel", "lab", *map(str, argv)])
    out, err = capfd.readouterr()
    return code, out, err


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


KERNEL = 'extern "C" __global__ void add(const float* a, const float* b, float* out, int n) {\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int x;\n", "has no kernel: a function __global__ void name"),
        (KERNEL + "  out[0] = a[0]\n}\n", "mine.cu:2:16: error: expected ‘;’"),
        (KERNEL.replace("add", "foo") + "}\n", "foo (line 1) tells none"),
        (KERNEL.replace("add", "sum_product") + "}\n", "sum_product tells more than one task: row_sum, product"),
        (KERNEL.replace("int n", "long n") + "}\n", "must be add(const float* a, const float* b, float* out, int n)"),
        (KERNEL + "}\nint main() { add<<<1, 1>>>(0, 0, 0, 1); }\n", "line 3 launches a kernel"),
        ("// Launch: grid ceil(n / SIZE), block 256\n" + KERNEL + "}\n", "'SIZE' is no size and no constant"),
        ("// Launch: grid n / 256, block 256\n" + KERNEL + "}\n", "must be whole: write ceil(a / b)"),
        ("// Launch: grid n, block (64, 32)\n" + KERNEL + "}\n", "1 to 1024 threads, not 2048"),
        (KERNEL + "  __shared__ float s[20000];\n  s[n] = 0;\n}\n", "have 80,000 bytes"),
        ("template <int N>\n" + KERNEL.replace('extern "C" ', "") + "}\n", "line 2: add is a template"),
        (KERNEL + "}\n" + KERNEL.replace("add", "add2") + "}\n", "say --kernel NAME"),
    ],
)
def test_files_that_are_refused(capfd, tmp_path, text, message):
    (tmp_path / "mine.cu").write_text(text)
    code, out, err = run(capfd, tmp_path / "mine.cu")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


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


def test_two_kernels_main_and_dynamic_shared_memory(capfd, tmp_path):
    text = SOLVED["row_sum"].read_text()
    text = text.replace("block THREADS", "block THREADS, shared 4 * THREADS bytes")
    text = text.replace("__shared__ float partial[THREADS]", "extern __shared__ float partial[]")
    text = "#include <cuda_runtime.h>\n" + text.replace('extern "C" ', "")
    other = "__global__ void sum_of_sums(const float* x, float* out, int rows, int cols) {}\n"
    hidden = "#ifndef CUDA_ON_CPU\nint main() { row_sum<<<1, 1>>>(0, 0, 0, 0); }\n#endif\n"
    (tmp_path / "mine.cu").write_text(text + other + hidden)
    code, out, _ = run(capfd, tmp_path / "mine.cu", "--kernel", "row_sum", "--seeds", 1)
    assert code == 0, out
    broken = text.replace("  __syncthreads();\n  for (int half", "  for (int half").replace(
        "4 * THREADS", "4 * THREADS - 4"
    )
    (tmp_path / "mine.cu").write_text(broken)
    code, out, _ = run(capfd, tmp_path / "mine.cu", "--seeds", 1)
    assert "race for partial[" in out
    assert "out of bounds: partial[255]; partial has 255 elements, and this is 1 past the last" in out


@pytest.mark.parametrize("path", [*SOLUTIONS, *STARTERS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_compiles_for_a_gpu(path):
    built = build(str(path), "80", {}, "NVRTC" if tools.NVCC is None else "nvcc")
    assert built.registers <= 64


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


def test_pictures(tmp_path):
    """Each picture is one well-formed file, with the sentences of the terminal."""
    conflicts = planted(tmp_path, "transpose", ("[TILE + 1]", "[TILE]"))
    race = planted(tmp_path, "transpose", ("  __syncthreads();\n", ""))
    for report, words in (
        (conflicts, ["bank conflicts in line", "load units and banks: 57%"]),
        (race, ["a race for tile", "Put __syncthreads() between", "wrong results in"]),
        (planted(tmp_path, "add", ("i < n", "true")), ["out of bounds: a["]),
        (examine(STARTERS[2]), ["uncoalesced access in line 11", "8 words is a sector"]),
    ):
        root = ElementTree.fromstring(draw_svg(report))
        text = " ".join("".join(element.itertext()) for element in root)
        assert all(word in text for word in words), text
    assert draw_banks(max(conflicts.counts.lines, key=lambda line: line.ratio)) == [
        *(f"{top:2} #" for top in range(32, 0, -4)),
        "   01234567890123456789012345678901",
    ]
