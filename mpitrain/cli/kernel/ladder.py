"""``mpitrain kernel ladder``: the rungs of the matrix product, with the speed that each should reach and its limit."""

import re
from dataclasses import dataclass

from ..options import parse_options
from ..order import LocalJob

DESCRIPTION = (
    "Predict the speed of each rung of kernels/ladder from what it asks of the GPU's units. "
    "A prediction to compare with `mpitrain kernel bench --parts ladder`, not a measurement: it needs no GPU."
)
SHAPE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})x([1-9]\d{0,5})")


@dataclass(frozen=True, kw_only=True)
class LadderOptions:
    """Options of ladder."""

    shape: str = "8192x8192x8192"
    """Rows, columns and depth: MxNxK."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(LadderOptions, argv, command="kernel ladder", description=DESCRIPTION, speaks=speaks)
    return LocalJob(lambda: show(options))


def show(options: LadderOptions) -> int:
    """Print a row for each rung, then the counter that shows each limit.

    Raises
    ------
    UserError
        If the shape is none.
    """
    from ...errors import UserError
    from ...kernels.ladder import RUNGS
    from ...kernels.predicted.ladder import METRICS, of_peak, predict
    from ...kernels.predicted.rates import H100
    from ...training.display.text_table import Column, print_table
    from ..terminal import make_console

    found = SHAPE.fullmatch(options.shape)
    if found is None:
        raise UserError(f"--shape {options.shape} is no shape: M x N x K as 4096x768x768, each up to 999999")
    m, n, k = map(int, found.groups())
    console, rows, limits = make_console(), [], []
    for rung in RUNGS:
        seconds, limit = predict(rung, m, n, k)
        limits.append(limit)
        share = of_peak(rung, m, n, k)
        rows.append((rung.title, rung.inputs, f"{2e-12 * m * n * k / seconds:.1f}", f"{share:.1%}", limit))
    console.say(f"{m} x {n} x {k} on {H100.name}, predicted: no GPU was asked")
    console.print()
    heads = (
        Column("rung", "name"),
        Column("type", "word"),
        Column("TFLOP/s"),
        Column("of peak"),
        Column("limit", "word"),
    )
    print_table(console, heads, rows)
    console.print()
    console.say("The counter of Nsight Compute that shows each limit:")
    print_table(
        console, [Column("", "word"), Column("", "word")], [(x, METRICS[x]) for x in dict.fromkeys(limits)], head=False
    )
    return 0
