"""``mpitrain kernel check``: compare the kernels on this GPU with float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..options import parse_options
from ..order import LocalJob

DESCRIPTION = "Run matrix products and convolutions on this machine's GPU and compare them with float64 NumPy."


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

    return check_on(open_gpu("the kernels cannot be checked"), options)


def check_on(device: Any, options: CheckOptions) -> int:
    """Check the kernels on ``device``."""
    from ...kernels.check import check_product, shapes
    from ...ops.cuda.matmul import multiply
    from .check_convolutions import check_convolutions

    print(f"{device.name}, seed {options.seed}")
    wrong = 0
    for inputs in options.precision:
        products = [check_product(device, multiply, shape, options.seed) for shape in shapes(inputs)]
        wrong += _report(f"{inputs} products", [(each, str(each.shape)) for each in products])
        found = check_convolutions(device, inputs, options.seed)
        wrong += _report(f"{inputs} convolutions", [(each, f"{each.kind} of {each.case}") for each in found])
    return 1 if wrong else 0


def _report(what: str, results: Sequence[tuple[Any, str]]) -> int:
    """Print the largest error and what is wrong; return how many are."""
    bad = [(result, name) for result, name in results if not result.right]
    worst = max(result.error for result, _ in results)
    print(f"{what}: {len(results) - len(bad)} of {len(results)} right; largest error {worst:.1e}")
    for result, name in bad:
        print(f"  {result.error:.1e} (allowed {result.tolerance:.0e}): {name}")
    return len(bad)
