"""Options for times of tasks and messages, which several subcommands have, and the costs that they give."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from ...errors import UserError
from ...plain_text import count

if TYPE_CHECKING:
    from ...pipelines.price import Costs
    from ...pipelines.simulate import Link

TIME = re.compile(r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*(us|ms|s)?", re.IGNORECASE)
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Options for the size of a pipeline and the times of its tasks."""

    ranks: Annotated[int, arg(aliases=["-n"])] = 4
    """Number of ranks."""
    microbatches: Annotated[int, arg(aliases=["-m"])] = 8
    """Number of microbatches in a step."""
    forward: Annotated[tuple[str, ...], arg(metavar="TIME")] = ("1",)
    """Time of forward, of one microbatch on a P-th part of the model: one for all ranks, or one for each. 20ms and
    300us are seconds; numbers are units, of which only ratios matter."""
    backward: Annotated[tuple[str, ...], arg(metavar="TIME")] = ()
    """The same for dx, the gradient of the input; by default the times of forward."""
    weights: Annotated[tuple[str, ...], arg(metavar="TIME")] = ()
    """The same for dw, the gradient of the weights; by default the times of forward."""


@dataclass(frozen=True, kw_only=True)
class MessageOptions:
    """Options for the times of messages."""

    bytes: str = ""
    """Length of one microbatch's activation between two stages, such as 4MiB; without it messages take no time."""
    calibration: Path | None = None
    """File that collective calibrate has written, for the times of messages; by default a table that comes with
    mpitrain."""
    ranks_per_node: int = 0
    """Ranks on one node, for the times of messages; 0 puts all on one."""


@dataclass(frozen=True, kw_only=True)
class CostOptions(MessageOptions, TaskOptions):
    """Options for the times of tasks and messages; those of tasks come first in the help."""


def check_counts(options: CostOptions) -> None:
    """Raise UserError for numbers of ranks or microbatches below 1."""
    for flag, value in (("-n", options.ranks), ("-m", options.microbatches)):
        if value < 1:
            raise UserError(f"{flag} is {value}, but must be at least 1")


def costs_of(options: CostOptions) -> "Costs":
    """Return the costs that ``options`` give.

    Raises
    ------
    UserError
        For text that is no time, for numbers beside seconds, and for messages in bytes beside times in units.
    """
    from ...pipelines.price import Costs

    given = {
        "--forward": options.forward,
        "--backward": options.backward or options.forward,
        "--weights": options.weights or options.forward,
    }
    read = {flag: [read_time(text, flag) for text in texts] for flag, texts in given.items()}
    units = {in_seconds for times in read.values() for _, in_seconds in times}
    if len(units) != 1:
        raise UserError("times are given in seconds (20ms) and as numbers (1): give all in one way")
    for flag, times in read.items():
        if len(times) != 1 and len(times) % options.ranks:
            raise UserError(
                f"{flag} has {count(len(times), 'time')}, but needs 1, or one for each of {options.ranks} ranks"
            )
    in_seconds = units.pop()
    if not in_seconds and options.bytes:
        raise UserError("--bytes is for messages that take seconds: give times in seconds, too, as --forward 20ms")
    forward, backward, weights = (tuple(time for time, _ in times) for times in read.values())
    if not sum(forward) > 0:
        raise UserError(f"--forward is {' '.join(options.forward)}, but must be more than 0")
    return Costs(forward, backward, weights, link_of(options), in_seconds)


def link_of(options: MessageOptions) -> "Link | None":
    """Return the times of messages; None if they take none."""
    from ...collectives.price import load_calibration
    from ...collectives.price.units import read_bytes
    from ...pipelines.price import make_link

    if options.ranks_per_node < 0:
        raise UserError(f"--ranks-per-node is {options.ranks_per_node}, but must be at least 0")
    if not options.bytes:
        if options.calibration or options.ranks_per_node:
            raise UserError("messages take no time without --bytes, the length of an activation between two stages")
        return None
    calibration = load_calibration(options.calibration) if options.calibration else load_calibration()
    return make_link(calibration, read_bytes(options.bytes, "--bytes"), options.ranks_per_node)


def read_time(text: str, flag: str) -> tuple[float, bool]:
    """Return a time, and whether it is in seconds.

    >>> read_time("1.5", "--forward"), read_time("300us", "--forward")
    ((1.5, False), (0.0003, True))
    """
    found = TIME.fullmatch(text.strip())
    if not found:
        raise UserError(f"{flag} is a time, as 1, 0.5, 20ms or 300us, not {text!r}")
    number, unit = found.groups()
    return float(number) * SECONDS[unit.lower()] if unit else float(number), bool(unit)


def describe_costs(options: CostOptions) -> str:
    """Return the times of a prediction in one line."""
    backward, weights = options.backward or options.forward, options.weights or options.forward
    parts = [f"forward {' '.join(options.forward)}", f"dx {' '.join(backward)}", f"dw {' '.join(weights)}"]
    parts.append(f"messages of {options.bytes}" if options.bytes else "messages take no time")
    return ", ".join(parts)
