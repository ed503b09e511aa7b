"""``mpitrain kernel check``: compare the kernels on this GPU with float64."""

from dataclasses import dataclass

from ..options import parse_options
from ..order import LocalJob

DESCRIPTION = "Run the matrix products on this machine's GPU and compare them with float64 NumPy."


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of check."""

    precision: tuple[str, ...] = ("fp32", "tf32", "bf16")
    """Types of the factors."""
    seed: int = 0
    """Seed of the random matrices."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(CheckOptions, argv, command="kernel check", description=DESCRIPTION, speaks=speaks)
    return LocalJob(lambda: check_all(options))


def check_all(options: CheckOptions) -> int:
    """Print the worst error for each type; the exit code is 1 if any is too large."""
    from ...device import open_gpu
    from ...kernels.check import check_product, shapes
    from ...ops.cuda.matmul import multiply

    device = open_gpu("the kernels cannot be checked")
    print(f"{device.name}, seed {options.seed}")
    wrong = 0
    for inputs in options.precision:
        results = [check_product(device, multiply, shape, options.seed) for shape in shapes(inputs)]
        bad = [result for result in results if not result.right]
        worst = max(results, key=lambda result: result.error)
        print(f"{inputs}: {len(results) - len(bad)} of {len(results)} right; largest error {worst.error:.1e}")
        for result in bad:
            print(f"  {result.error:.1e} (allowed {result.tolerance:.0e}): {result.shape}")
        wrong += len(bad)
    return 1 if wrong else 0
