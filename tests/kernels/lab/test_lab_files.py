"""Files of students: launches, tasks and parameters that the lab understands, and those that it refuses."""

import pytest

from mpitrain.kernels.lab.source import Source
from mpitrain.kernels.lab.tasks import find_task, tasks_named_by
from tests.kernels import cpu
from tests.kernels.lab.examples import SOLVED, planted, run, the_fault

pytestmark = [cpu.needs_gxx, pytest.mark.timeout(600)]  # the first one builds the shim


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
