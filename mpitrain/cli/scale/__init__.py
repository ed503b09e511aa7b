"""``mpitrain scale``: measure training on several numbers of ranks, fit a law, and predict more ranks."""

import dataclasses
from pathlib import Path

from ...config import Config
from ...config_file import read_config
from ..options import given_before, parse_options
from ..order import LocalJob
from ..train import branches
from .options import STEPS, ScaleOptions, check_options, plan_of

DESCRIPTION = (
    "Measure how training gets faster with more ranks, which this command starts itself: mpitrain scale --ranks 1,2,4 "
    "--model lenet. Other options are those of train; --steps (40 by default) is the length of each training, and no "
    "run is written."
)


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    path = given_before(argv, "config").config
    config = read_config(Path(path)) if path else Config()
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, steps=STEPS))
    default = ScaleOptions(config=Path(path) if path else None, **branches(config))
    options = parse_options(
        ScaleOptions, argv, command="scale", description=DESCRIPTION, default=default, speaks=speaks
    )
    check_options(options)
    plan = plan_of(options)

    def run() -> int:
        from .run import run_study

        return run_study(options, plan)

    return LocalJob(run)
