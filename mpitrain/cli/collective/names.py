"""``mpitrain collective list``: list the available algorithms."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console

DESCRIPTION = "List the algorithms of all collectives, with their options."


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of list."""

    collective: Annotated[Positional[str], arg(metavar="COLLECTIVE")] = ""
    """Only those of this collective (all_reduce, all_gather, ...)."""
    costs: int = 0
    """Print what each promises for so many ranks: rounds, and bytes sent and added by the busiest rank."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ListOptions, argv, command="collective list", description=DESCRIPTION, speaks=speaks)
    return LocalJob(lambda: show(options))


def show(options: ListOptions) -> int:
    """Print one line for each algorithm."""
    from ...collectives import COLLECTIVES, Algorithm, find, names
    from ...errors import UserError
    from ...training.display.text_table import Column, Row, print_table

    if options.collective and options.collective not in COLLECTIVES:
        raise UserError(f"there is no collective {options.collective!r}; there are {', '.join(COLLECTIVES)}")

    def facts(algorithm: Algorithm) -> str:
        if not options.costs:
            return algorithm.summary.partition(": ")[2]
        p = options.costs
        promises = (algorithm.rounds, algorithm.bytes, algorithm.reductions)
        rounds, sent, added = (f"{f(p):g}" if f is not None and f(p) % 1 == 0 else f"{f(p):.3f}" for f in promises if f)
        return f"{rounds:>6} rounds  {sent:>7} n sent  {added:>7} n added"

    rows: list[Row | None] = []
    for collective in [options.collective] if options.collective else COLLECTIVES:
        rows += [*([None] if rows else []), (collective, "")]
        for name in names(collective):
            algorithm = find(name)
            chosen = ",".join(f"{key}={value}" for key, value in algorithm.options)
            rows.append((f"  {name}:{chosen}" if chosen else f"  {name}", facts(algorithm)))
    console = make_console()
    print_table(console, [Column("", "word"), Column("", "text")], rows, head=False)
    if not options.collective:
        console.print()
        console.say(
            "all_reduce also by shared (one node), native (MPI_Allreduce), nccl (between GPUs), and FILE.py:FUNC"
        )
    return 0
