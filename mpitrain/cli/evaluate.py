"""``mpitrain evaluate``: score the weights of a finished run, on any number of ranks."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import UserError
from ..json_text import to_json
from ..plain_text import visible
from .options import parse_options
from .order import Job
from .terminal import make_console

if TYPE_CHECKING:
    from ..comm.world import World


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of evaluate."""

    directories: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN")]
    """Run directory written by train; several are averaged (probabilities, or values)."""
    data: str = ""
    """Other data than the run's own, as in train --data; columns and classes are found by name, and the target is the
    model's."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best validation score (or test score)."""
    split: Literal["auto", "test", "validation", "train", "all"] = "auto"
    """Samples to score; auto takes the test split, or all rows of other data that have no test split of their own."""
    metrics: Annotated[str, arg(metavar="METRIC,...")] = ""
    """Metrics, as in train --metrics; by default those of the run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device, as in train --device."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """Precision on a GPU, as in train --precision; auto takes that of the training (of several runs the most exact),
    and fp32 on a CPU."""
    mesh: Annotated[str, arg(metavar="AXIS=N,...")] = ""
    """Ranks on each axis, as in train --mesh: with pipe=4 a rank has a quarter of the layers in its memory."""
    json: bool = False
    """Print the scores as JSON, with samples (scored), total (of the source) and split."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    text = "Score the weights of a finished run: mpirun -n 4 python -m mpitrain evaluate RUN."
    options = parse_options(EvaluateOptions, argv, command="evaluate", description=text, speaks=speaks)
    return Job("evaluate", options, lambda world: evaluate(options, world))


def evaluate(options: EvaluateOptions, world: "World") -> int:
    """Score samples with all ranks and print the scores (rank 0)."""
    from ..device import CPU
    from ..training.devices import take_device_for_runs
    from ..training.directory.trained_model import open_trained_model
    from ..training.display.score_text import show_scores
    from ..training.display.tables import print_tables, to_lists
    from ..training.prediction.ensemble import ensemble_scores, make_members

    CPU.use_threads(world.cores)
    with world.together():
        check_runs("evaluate", options.directories, options.mesh)
        runs = [open_trained_model(directory, options.weights) for directory in options.directories]
        members, run = make_members(runs, list(map(str, options.directories))), runs[0]
        scoring = run.make_scoring(options.metrics or run.metrics)
    trained = [one.precision for one in runs]
    device = take_device_for_runs(options.device, options.precision, trained, world)
    run.prepare(world, options.data)
    with world.together():
        all_rows = [one.open_rows(options.data, "" if options.split == "auto" else options.split) for one in runs]
    for one, its_rows in zip(runs, all_rows, strict=True):
        one.check_ranks(its_rows, options.data, world)
    rows = all_rows[0]
    warn(world, *rows.notes, run.diagnose(rows, world))
    members = [member.opened(world, device, options.mesh) for member in members]
    if len(members) == 1:
        evaluator = members[0].evaluator
        scores = evaluator.scores(rows.parts, scoring)
        tables = to_lists(evaluator.tables)
    else:
        scores, arrays = ensemble_scores(members, [one.parts for one in all_rows], scoring, world)
        tables = to_lists(arrays)
    if world.rank == 0:
        if options.json:
            print(to_json({"samples": len(rows), "total": rows.total, "split": rows.split, **scores, **tables}))
        else:
            console = make_console()
            of = f"average of {len(runs)} runs, " if len(runs) > 1 else ""
            console.say(f"{of}{rows.name}, {rows.described}: {show_scores(scores)}")
            print_tables(console, tables, run.signature.class_names)
    return 0


def check_runs(command: str, directories: tuple[Path, ...], mesh: str) -> None:
    """Raise a UserError unless there is a run, and one only where ranks divide it."""
    if not directories:
        raise UserError(f"say which run: mpitrain {command} RUN" + " --data SOURCE" * (command == "predict"))
    if len(directories) > 1 and mesh:
        raise UserError("--mesh divides the model of one run, and several are averaged: each rank has all of them")


def warn(world: "World", *notes: str) -> None:
    """Print notes on the standard error of rank 0: the output is for results."""
    if world.rank == 0:
        for note in filter(None, notes):
            print(f"mpitrain: {visible(note)}", file=sys.stderr, flush=True)
