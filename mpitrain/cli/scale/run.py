"""Runs of a study: trainings in turns, as processes of mpirun, and their results."""

import dataclasses
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from ...config import Config
from ...config_file import write_config
from ...errors import UserError
from ...plain_text import count
from ...scaling.measured import Case, summarize
from ...scaling.study import Plan, Study
from ..files import check_writable
from ..launcher import library_of_mpi4py
from ..progress import Progress
from ..train import branches
from .options import ScaleOptions, read_limit
from .processes import Launcher, interruptible
from .worker import WARM_UP


def run_study(options: ScaleOptions, plan: Plan) -> int:
    """Measure, print and write everything; return the exit code."""
    from ...collectives.price import load_calibration
    from .files import write_study
    from .tables import print_study

    for path in options.output:
        check_writable(path)
    calibration = load_calibration(options.calibration) if options.calibration else None
    launcher = Launcher(library_of_mpi4py(), max(case.ranks for case in plan.cases))
    with interruptible():
        found = _measure(options, plan, launcher)
    measured = {case: summarize(case, trainings) for case, trainings in found.items()}
    study = Study(plan, measured, calibration)
    print_study(study, options)
    for path in options.output:
        write_study(path, study, options)
    return 0


def _measure(options: ScaleOptions, plan: Plan, launcher: Launcher) -> dict[Case, list[dict[str, Any]]]:
    """Return the facts of all trainings; in each turn another case comes first."""
    config, seconds = Config(**branches(options)), read_limit(options)
    cases, found = plan.cases, defaultdict[Case, list[dict[str, Any]]](list)
    progress = Progress("scale")
    progress.begin(
        f"{count(options.repeat * len(cases), 'training')} of {config.run.steps} steps", options.repeat * len(cases)
    )
    with tempfile.TemporaryDirectory(prefix="mpitrain-scale-") as folder:
        for turn in range(options.repeat):
            shift = turn % len(cases)
            for case in cases[shift:] + cases[:shift]:
                facts = _train(config, case, launcher, Path(folder), seconds)
                _check_samples(plan, facts["samples"], config)
                found[case].append(facts)
                progress.step()
    progress.end()
    return found


def _train(config: Config, case: Case, launcher: Launcher, folder: Path, seconds: float) -> dict[str, Any]:
    """Return the facts of one training."""
    by_tokens = config.data.batch_tokens > 0
    data = dataclasses.replace(
        config.data,
        batch_tokens=case.batch if by_tokens else 0,
        batch_size=config.data.batch_size if by_tokens else case.batch,
    )
    config = dataclasses.replace(
        config,
        data=data,
        parallel=dataclasses.replace(config.parallel, threads=case.threads),
        run=dataclasses.replace(config.run, steps=config.run.steps + WARM_UP, progress="none"),
    )
    settings, result = folder / "settings.toml", folder / "result.json"
    settings.write_text(write_config(config), encoding="utf-8")
    result.unlink(missing_ok=True)
    launcher.run(case.ranks, case.threads, [str(settings), str(result)], folder / "errors.txt", seconds)
    if not result.exists():
        raise UserError(f"the training on {count(case.ranks, 'rank')} has ended without a result")
    facts: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return facts


def _check_samples(plan: Plan, samples: int, config: Config) -> None:
    """Raise a UserError if the training samples are too few for the ranks."""
    largest = plan.scaling[-1]
    if config.data.batch_tokens:
        return
    if plan.weak and largest.batch > samples:
        raise UserError(
            f"--weak needs {largest.ranks} x {config.data.batch_size} samples in a step, and there are {samples:,} "
            "training samples: take fewer ranks or a smaller --batch-size"
        )
    if largest.ranks > samples:
        raise UserError(f"--ranks has {largest.ranks}, more than the {samples:,} training samples")
