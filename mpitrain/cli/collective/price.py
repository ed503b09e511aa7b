"""``mpitrain collective price``: predict the cost of algorithms on any number of ranks, without running them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ...errors import UserError
from ...json_text import to_json
from ...plain_text import count
from ..options import parse_options
from ..order import LocalJob
from ..progress import Progress
from ..terminal import make_console
from .wrong import warn_of_wrong

if TYPE_CHECKING:
    from ...collectives.price import Calibration, Price, Switch

DESCRIPTION = (
    "Predict seconds for algorithms, ranks and lengths: mpitrain collective price ring tree -n 64 --bytes 1MiB."
)


QUICK_STEPS = 4_000_000  # of an algorithm that is priced only because all are


@dataclass(frozen=True, kw_only=True)
class PriceOptions:
    """Options of price."""

    algorithms: Annotated[Positional[tuple[str, ...]], arg(metavar="ALG")] = ()
    """Names of list with options or not, or FILE.py:FUNC; by default all that auto chooses from, at their best."""
    ranks: Annotated[int, arg(aliases=["-n"])] = 8
    """Number of ranks, up to about 100,000."""
    bytes: tuple[str, ...] = ("4KiB", "256KiB", "16MiB")
    """Lengths of the buffer: 65536, 64KiB (1024 bytes each), 64kB (1000)."""
    topology: str = ""
    """switch, fat_tree or torus, with options: torus:dims=8x8,ranks_per_node=4."""
    calibration: Path | None = None
    """File that calibrate has written; by default a table that comes with mpitrain."""
    json: bool = False
    """Print the prices as JSON."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(PriceOptions, argv, command="collective price", description=DESCRIPTION, speaks=speaks)
    if options.ranks < 1:
        raise UserError(f"-n is {options.ranks}, but must be at least 1")
    return LocalJob(lambda: price_all(options))


def price_all(options: PriceOptions) -> int:
    """Print a table of prices, cheapest first at each length."""
    from ...collectives import ScheduleError
    from ...collectives.price import load_calibration, parse_topology
    from ...collectives.price.price import default_topology
    from ...collectives.price.units import read_bytes

    calibration = load_calibration(options.calibration) if options.calibration else load_calibration()
    topology = parse_topology(options.topology) if options.topology else default_topology(calibration)
    lengths = [read_bytes(text, "--bytes") for text in options.bytes]
    wrong = warn_of_wrong(options.algorithms, options.ranks, "a price says nothing")
    try:
        prices = list(_prices(options, lengths, calibration, topology))
    except ScheduleError as error:
        raise UserError(f"an algorithm is wrong (see mpitrain collective check): {error}") from None
    if options.json:
        print(to_json([{**vars(price), "wrong": wrong.get(price.algorithm, "")} for price in prices]))
    else:
        prices = [replace(p, how=f"{p.how}; WRONG" if p.algorithm in wrong else p.how) for p in prices]
        _print_table(prices if options.algorithms else _best_of_each(prices), options, calibration, topology)
    return 1 if wrong else 0


def _prices(
    options: PriceOptions, lengths: list[int], calibration: "Calibration", topology: "Switch"
) -> Iterator["Price"]:
    from ...collectives import find
    from ...collectives.price import Pricer, candidates
    from ...collectives.price.program import MAX_STEPS

    names = options.algorithms or tuple(candidates())
    most = MAX_STEPS if options.algorithms else QUICK_STEPS
    progress = Progress("collective price")
    progress.begin_quietly(f"{len(names)} algorithms at {options.ranks:,} ranks", len(names))
    left_out = []
    for name in names:
        try:
            pricer = Pricer(find(name), options.ranks, periods=(topology.ranks_per_node,), most=most)
            yield from [pricer.price(num_bytes, calibration, topology) for num_bytes in lengths]
        except UserError:
            if options.algorithms:
                progress.end()
                raise
            left_out.append(name)
        progress.step()
    progress.end()
    if left_out:
        print(f"mpitrain: left out, as too slow to price: {', '.join(left_out)}", file=sys.stderr)


def _best_of_each(prices: list["Price"]) -> list["Price"]:
    """Return the price of each algorithm at each length, with its best options."""
    best: dict[tuple[float, str], Price] = {}
    for price in sorted(prices, key=lambda p: p.seconds):
        best.setdefault((price.num_bytes, price.algorithm.partition(":")[0]), price)
    return list(best.values())


def _print_table(prices: list["Price"], options: PriceOptions, calibration: "Calibration", topology: "Switch") -> None:
    from ...collectives.price.units import say_bytes, say_seconds
    from ...training.display.text_table import Column, Row, print_table

    numbers = [Column(head) for head in ("seconds", "rounds", "messages", "sends")]
    columns = [Column("bytes"), Column("algorithm", "name"), *numbers, Column("how", "word")]
    rows: list[Row | None] = []
    last = 0.0
    for p in sorted(prices, key=lambda p: (p.num_bytes, p.seconds)):
        if p.num_bytes != last and rows:
            rows.append(None)
        last = p.num_bytes
        cells = say_bytes(p.num_bytes), p.algorithm, say_seconds(p.seconds), f"{p.num_rounds:,}", f"{p.num_messages:,}"
        rows.append([*cells, say_bytes(p.bytes_sent, beside=p.num_bytes), p.how])
    console = make_console()
    print_table(console, columns, rows, title=f"{count(options.ranks, 'rank')}, {_describe(topology)}")
    console.say(f"calibration: {calibration.source}")
    if calibration.oversubscribed:
        console.say("ranks outnumbered cores when it was measured: the model does not apply", "yellow")


def _describe(topology: Any) -> str:
    options = ", ".join(f"{key} {value}" for key, value in vars(topology).items() if key != "hop")
    return f"{type(topology).__name__.lower()} ({options})"
