"""``mpitrain find-lr``: find a learning rate by a short training on all ranks in which it grows from step to step."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from ..config import Config, Run
from ..config_check import check
from ..config_file import read_config
from ..errors import UserError
from ..json_text import to_json
from .options import given_before, parse_options
from .order import Job
from .terminal import make_console
from .train import branches, make_screen

if TYPE_CHECKING:
    from ..comm.world import World
    from ..training.lr_finder import RateCurve

STEPS = 100
ROWS = 20  # of the table
BAR = 40  # characters of the longest bar


@dataclass(frozen=True, kw_only=True)
class FindLrOptions(Config):
    """Options of find-lr."""

    config: Annotated[Path | None, arg(name="config", metavar="FILE")] = None
    """TOML file with settings, as in train --config."""
    lowest: float = 1e-6
    """Learning rate of the first step."""
    highest: float = 10.0
    """Learning rate of the last step; the test ends before where the loss grows to four times its lowest value."""
    json: bool = False
    """Print the rates, losses and smooth losses of all steps, and the suggestion, as JSON."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    path = given_before(argv, "config").config
    config = read_config(Path(path)) if path else Config()
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, steps=STEPS))
    options = parse_options(
        FindLrOptions,
        argv,
        command="find-lr",
        description="Find a learning rate by a short training in which it grows. Options are those of train; --steps "
        f"({STEPS} by default) is the length of the test, and nothing is written.",
        default=FindLrOptions(config=Path(path) if path else None, **branches(config)),
        speaks=speaks,
    )
    check(options)
    if not 0 < options.lowest < options.highest:
        raise UserError(f"--lowest is {options.lowest:g}, but must be above 0 and below --highest, {options.highest:g}")
    if options.run.steps < 2:
        raise UserError(f"--steps is {options.run.steps}, but must be at least 2")
    return Job("find-lr", options, lambda world: find_lr(options, world), path)


def find_lr(options: FindLrOptions, world: "World") -> int:
    """Make the test with all ranks, and print its losses and a suggestion (rank 0)."""
    from ..training.lr_finder import find_rates
    from ..training.opening import open_training

    config = Config(**branches(options))
    config, setup, _ = open_training(config, world)
    display = make_screen(dataclasses.replace(config, run=Run(progress="none")), world)[1]
    curve = find_rates(config, setup, world, display, options.lowest, options.highest)
    if world.rank == 0:
        if options.json:
            facts = {"rates": curve.rates, "losses": curve.losses, "smooth": curve.smooth}
            print(to_json({**facts, "diverged": curve.diverged, "suggestion": curve.suggestion}))
        else:
            _print(curve, f"{setup.dataset.name}, {config.model.name}, {config.optimizer.name}")
    return 0


def _print(curve: "RateCurve", title: str) -> None:
    from ..training.display.text_table import Column, print_table

    console = make_console()
    if not curve.losses:
        console.say("the first loss is not a finite number: there is nothing to compare")
        return
    smooth, every = curve.smooth, math.ceil(len(curve.losses) / ROWS)
    rows = [
        (f"{curve.rates[step]:.2g}", f"{smooth[step]:.4g}", _bar(smooth[step], smooth))
        for step in range(0, len(smooth), every)
    ]
    console.say(f"{title}: {len(smooth)} steps")
    print_table(console, [Column("lr"), Column("smooth loss"), Column("", "word")], rows)
    end = (
        f"it diverged at {curve.rates[-1]:.2g}" if curve.diverged else f"up to {curve.rates[-1]:.2g} it did not diverge"
    )
    console.say(f"lowest at {curve.rates[curve.lowest]:.2g}; {end}")
    if curve.suggestion is None:
        console.say("the loss does not fall at any of these rates: try another range by --lowest and --highest")
    else:
        console.say(f"the loss falls most steeply at --lr {curve.suggestion:.2g}")


def _bar(loss: float, losses: Sequence[float]) -> str:
    """Return a bar whose length shows ``loss`` between zero and the first and largest ones."""
    return "#" * round(BAR * min(1.0, loss / max(losses[0], min(losses))))
