"""``mpitrain pipeline price``: predict step time, bubble and memory of schedules, without running them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ...json_text import to_json
from ...plain_text import count
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .costs import CostOptions, check_counts, costs_of, describe_costs
from .wrong import predict_one

if TYPE_CHECKING:
    from ...pipelines.price import Prediction, Price

DESCRIPTION = (
    "Predict step time, bubble and memory of pipeline schedules: mpitrain pipeline price 1f1b zb_h1 -n 4 -m 8 "
    "--forward 20ms --bytes 4MiB."
)


@dataclass(frozen=True, kw_only=True)
class PriceOptions(CostOptions):
    """Options of price."""

    pipelines: Annotated[Positional[tuple[str, ...]], arg(metavar="PIPELINE")] = ()
    """Names of list with options or not, or FILE.py:FUNC; by default all of list, some with two options."""
    memory: float = 0.0
    """Microbatches that a rank may hold; a schedule that holds more is not chosen. 0 for no bound."""
    json: bool = False
    """Print the prices as JSON."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(PriceOptions, argv, command="pipeline price", description=DESCRIPTION, speaks=speaks)
    check_counts(options)
    if options.memory < 0:
        raise UserError(f"--memory is {options.memory:g}, but must be at least 0")
    return LocalJob(lambda: price_all(options))


def price_all(options: PriceOptions) -> int:
    """Print a table of prices, the shortest step first, and the choice."""
    from ...pipelines.price import CANDIDATES

    costs, found = costs_of(options), []
    for name in dict.fromkeys(options.pipelines or CANDIDATES):
        prediction, wrong = predict_one(name, options.ranks, options.microbatches, costs)
        if wrong:
            raise UserError(f"{name} is wrong for {wrong}")
        found.append(prediction)
    if options.json:
        print(to_json([vars(prediction.price) for prediction in found]))
        return 0
    _print_table(found, options)
    return 0


def _print_table(found: list["Prediction"], options: PriceOptions) -> None:
    from ...pipelines.check import say_live
    from ...pipelines.idle import CAUSES
    from ...training.display.text_table import Column, print_table

    prices = {id(prediction): prediction.price for prediction in found}
    rows = []
    for prediction in sorted(found, key=lambda one: prices[id(one)].step):
        price = prices[id(prediction)]
        causes = [f"{getattr(price, cause):.1%}" for cause in CAUSES]
        step, held = prediction.say_time(price.step), say_live(price.live, most=4)
        rows.append([price.schedule, step, f"{price.bubble:.1%}", *causes, held])
    console = make_console()
    heads = [Column(head) for head in ("step", "bubble", *CAUSES)]
    columns = [Column("schedule", "name"), *heads, Column("held", "word")]
    m = options.microbatches
    title = f"{count(options.ranks, 'rank')}, {count(m, 'microbatch')}: {describe_costs(options)}"
    print_table(console, columns, rows, title=title)
    slowest = max(prices.values(), key=lambda price: price.slowest_over_mean)
    if slowest.slowest_over_mean > 1.005:
        console.say(
            f"rank {slowest.slowest} has the most work: {100 * (slowest.slowest_over_mean - 1):.0f}% more than the mean"
        )
    console.say(_say_choice(list(prices.values()), found[0], options.memory))


def _say_choice(prices: list["Price"], one: "Prediction", memory: float) -> str:
    from ...pipelines.price import choose

    chosen = choose(prices, memory or None)
    within = f" of those that hold {memory:g} microbatches or less" if memory else ""
    if chosen is None:
        least = min(prices, key=lambda price: max(price.live))
        return f"none holds {memory:g} microbatches or less: {least.schedule} holds {max(least.live):.3g}, the least"
    return f"fastest{within}: {chosen.schedule}, {one.say_time(chosen.step)}, and a rank holds {max(chosen.live):.3g}"
