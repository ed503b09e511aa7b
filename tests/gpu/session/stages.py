"""The stages of main.py, the most informative ones first."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels.card import ELSEWHERE

ROOT = Path(__file__).parents[3]
KERNELS, GPU = "tests/kernels", "tests/gpu"


@dataclass(frozen=True)
class Stage:
    """One run of pytest.

    Attributes
    ----------
    name : str
    tells : str
        What its result decides.
    arguments : tuple of str
        Files, and a filter.
    share : int
        Weight in the division of the time.
    watched : bool
        Whether each launch is waited for: not where it matters that host and GPU overlap.
    before : tuple of str
        The command that starts Python: mpirun, compute-sanitizer.
    environment : dict
    dry : bool
        Whether a dry run has a device that stands for what the stage needs.
    """

    name: str
    tells: str
    arguments: tuple[str, ...]
    share: int = 2
    watched: bool = True
    before: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    dry: bool = True


def tests_of(folder: str, *names: str) -> tuple[str, ...]:
    """Return the paths of the files test_NAME.py in the folders of ``folder``."""
    found = {name: [str(path.relative_to(ROOT)) for path in ROOT.glob(f"{folder}/**/test_{name}.py")] for name in names}
    assert all(len(paths) == 1 for paths in found.values()), f"not one file for each name: {found}"
    return tuple(path for (path,) in found.values())


def all_tests_of(*folders: str) -> tuple[str, ...]:
    """Return the paths of all files in these folders of tests/kernels that launch kernels."""
    paths = [path for folder in folders for path in sorted(ROOT.glob(f"{KERNELS}/{folder}/test_*.py"))]
    return tuple(str(path.relative_to(ROOT)) for path in paths if not path.stem.startswith(ELSEWHERE))


def on_a_gpu(tests: str, *names: str) -> tuple[str, ...]:
    """Return the tests in the files test_NAME.py of tests/gpu that need a GPU and are called like ``tests``.

    pytest compares ``tests`` with the names of folders, too.
    """
    return (*tests_of(GPU, *names), "-m", "gpu", "-k", tests)


FOLDERS = "elementwise", "reductions", "convolutions", "attention", "optimizers", "compression"
ATTENTION = "attention", "attention_fused", "attention_decode"
SANITIZED = (
    "test_random_shapes or test_softmax or test_windows or test_embedding or test_elementwise or test_compress or 129"
)
"""Some of all: it is slow."""
STAGES = (
    Stage(
        "wrappers",
        "PTX wrappers have the layouts of the PTX ISA",
        tests_of(KERNELS, "shim", "shim_hopper", "shim_im2col"),
        1,
    ),
    Stage("ladder", "every rung is right; a hang of rungs 10 to 18 is a wrong barrier", tests_of(KERNELS, "ladder")),
    Stage("tiles", "every tile of the products is right", on_a_gpu("test_products or test_every_tile", "on_a_gpu"), 3),
    Stage(
        "products",
        "epilogues, edges, strides, splits and clusters are right",
        tests_of(KERNELS, "gemm_wgmma", "gemm_mma", "gemm_simt"),
        3,
    ),
    Stage(
        "kernels",
        "all other kernels are right",
        all_tests_of(*FOLDERS),
        2,
    ),
    Stage(
        "layers",
        "every layer, attention and the convolutions of ResNet-50 are right, forward and backward",
        on_a_gpu("layers or attention or resnet50", "everywhere", *ATTENTION, "resnet50"),
        3,
    ),
    Stage(
        "training",
        "losses are the CPU's, of a transformer too; copies and events do what training needs",
        on_a_gpu("not layers and not graphs and not products and not tile", "on_a_gpu", "everywhere"),
        3,
        watched=False,
    ),
    Stage(
        "graphs",
        "CUDA graphs repeat the bits of eager steps",
        on_a_gpu("graphs", "on_a_gpu", "everywhere"),
        2,
        watched=False,
    ),
    Stage("rest", "what no stage before has run", (GPU, "-m", "gpu"), 1),
    *(
        Stage(
            f"{n} ranks" if n > 1 else "1 rank",
            "training over MPI: the losses of one rank on the CPU; compressed, those of as many",
            ("tests/mpi/test_gpu_training.py", "--with-mpi"),
            2,
            False,
            ("mpirun", "-n", str(n)),
            dry=False,
        )
        for n in (1, 2, 4)
    ),
    Stage(
        "pipeline",
        "stages on two ranks: the bits of one rank on the GPU; messages and copies wait for the computation",
        ("tests/mpi/test_gpu_pipeline.py", "--with-mpi"),
        2,
        False,
        ("mpirun", "-n", "2"),
    ),
    Stage(
        "nccl",
        "stages on two GPUs, messages by NCCL: the bits of messages by MPI, and no rank waits for ever",
        ("tests/mpi/test_gpu_nccl.py", "--with-mpi"),
        1,
        False,
        ("mpirun", "-n", "2"),
    ),
    *(
        Stage(
            tool,
            "accesses outside of arrays" if tool == "memcheck" else "races in shared memory",
            (KERNELS, "-k", SANITIZED),
            2,
            False,
            ("compute-sanitizer", "--tool", tool, "--error-exitcode", "9"),
            {"MPITRAIN_TEST_POOL": "none"},
            dry=False,
        )
        for tool in ("memcheck", "racecheck")
    ),
)
