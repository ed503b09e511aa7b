"""``mpitrain sweep``: many trainings at once, on groups of ranks."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ..errors import UserError
from .options import parse_options
from .order import Job
from .signals import hold_back

if TYPE_CHECKING:
    from ..comm.world import World
    from ..sweeps.plan import Trial
    from ..sweeps.spec import SweepSpec
    from ..sweeps.state import SweepState, TrialState
    from ..training.trials.sweep import Sweep

DESCRIPTION = (
    "Train many times at once with other settings: mpitrain -n 8 sweep FILE.toml. The file says which: a grid, random "
    "points, a Latin hypercube, asha or pbt; see docs/sweep.md."
)
PAGE = "sweep.html"
PAGE_SECONDS = 20.0  # between two versions of the page while trials run


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of sweep."""

    file: Annotated[Positional[str], arg(metavar="FILE.toml")]
    """Description of the sweep: tables [sweep], [train] and [parameters]."""
    out: Annotated[str, arg(metavar="DIR")] = ""
    """Directory of the sweep, with that of each trial; empty takes runs/NAME for NAME.toml."""
    resume: bool = False
    """Continue the sweep in the directory if there is one: trials that are over are not repeated."""
    dry_run: bool = False
    """List the trials and do nothing else."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(SweepOptions, argv, command="sweep", description=DESCRIPTION, speaks=speaks)
    from ..sweeps.spec import read_spec

    hold_back()
    spec = read_spec(Path(options.file))

    def run(world: "World") -> int:
        return rehearse(spec, world) if options.dry_run else sweep(spec, options, world)

    return Job("sweep", options, run, options.file)


def rehearse(spec: "SweepSpec", world: "World") -> int:
    """List the trials, with what is wrong with their settings (rank 0)."""
    from ..sweeps.plan import config_of, order_of, plan, say
    from ..training.display.text_table import Column, print_table
    from .terminal import make_console

    with world.together():
        trials = plan(spec)
    if world.rank:
        return 0
    rows = []
    for number in order_of(spec, trials):
        trial, wrong = trials[number], ""
        try:
            config_of(spec, trial)
        except UserError as error:
            wrong = f" (will fail: {error})"
        rows.append((str(number + 1), f"{say(trial.values)}{_variant(spec, trial)}{wrong}".strip()))
    console = make_console()
    print_table(console, [Column("trial"), Column("settings", "text")], rows)
    console.say(f"{len(trials):,} trials by {spec.method}, {max(1, world.size // spec.ranks_per_trial)} at a time")
    return 0


def sweep(spec: "SweepSpec", options: SweepOptions, world: "World") -> int:
    """Run the sweep; write the page and print the table (rank 0)."""
    from ..training.trials.sweep import run_sweep
    from .signals import Signals
    from .terminal import make_console

    console = make_console()
    directory = Path(options.out or f"runs/{spec.name}")
    _check_alike(spec, world)
    if world.rank == 0:
        _introduce(console, spec, world)
    done = run_sweep(
        spec,
        world,
        directory,
        resume=options.resume,
        signals=Signals(),
        on_end=lambda state, trial, of: _ended(console, spec, directory, state, trial, of),
        note=console.say,
    )
    code = world.all_gather(_finish(console, done) if world.rank == 0 else 0)[0]
    return int(code)


def _check_alike(spec: "SweepSpec", world: "World") -> None:
    """Raise an AgreedError if the ranks have read different files."""
    from ..comm.agreement import differences, say_values

    found = differences(world, {"file": spec.text})
    with world.together():
        if found:
            ranks = {None if text is None else f"{len(text)} letters": of for text, of in found["file"].items()}
            raise UserError(f"the file of the sweep is not the same on all ranks: {say_values(ranks)}")


def _introduce(console: Any, spec: "SweepSpec", world: "World") -> None:
    from ..sweeps.plan import plan

    groups, size = max(1, world.size // spec.ranks_per_trial), spec.ranks_per_trial
    of = "1 rank" if size == 1 else f"{size} ranks"
    console.say(f"{len(plan(spec)):,} trials by {spec.method}, {groups} at a time on {of} each ({world.mpi_version})")
    better = "most" if spec.larger_is_better else "least"
    validates = spec.kfold or spec.base.get("validation", spec.default.data.validation)
    console.say(f"the best has the {better} {spec.metric} of the {'validation' if validates else 'test'} samples")
    if not validates:
        console.say(
            "  so its test score is too good: hold out samples to choose by, with validation = 0.2 or kfold = 5"
        )


def _ended(
    console: Any, spec: "SweepSpec", directory: Path, state: "SweepState", trial: "Trial", of: "TrialState"
) -> None:
    """Print a line about a trial that has ended, and write the page now and then."""
    import time

    from ..sweeps.plan import say
    from ..sweeps.state import OVER

    total = len(state.trials)
    over = state.count(*OVER)
    values = trial.values if of.values is None else of.values
    digits = len(str(total))
    where = f"[{over:{digits}}/{total}] trial {trial.number + 1:<{digits}}"
    settings = f"{say(values)}{_variant(spec, trial)}".strip()
    console.say(
        _fit(console, "  ".join(part for part in (where, _result(spec, of), settings, _status(spec, of)) if part))
    )
    path = directory / PAGE
    try:
        due = time.time() - path.stat().st_mtime > PAGE_SECONDS
    except OSError:
        due = False
    if due:
        _write_page(spec, directory)


def _fit(console: Any, line: str) -> str:
    """Return a line that fits the terminal; elsewhere the whole one."""
    wide = not console.is_terminal or len(line) <= console.width
    return line if wide else f"{line[: console.width - 1].rstrip()}\u2026"


def _result(spec: "SweepSpec", of: "TrialState") -> str:
    from ..collectives.price.units import say_seconds
    from ..training.display.score_text import show_score

    value = "" if of.value != of.value else f"{spec.metric} {show_score(spec.metric, of.value)}"
    return "  ".join(part for part in (value, say_seconds(of.seconds)) if part)


def _status(spec: "SweepSpec", of: "TrialState") -> str:
    """Return the status of a trial and why it is so; empty for one that has just finished, as all do."""
    from ..sweeps.state import FINISHED, PAUSED

    if of.status == PAUSED:
        return f"paused after epoch {of.epoch:g}"
    if of.status == FINISHED:
        return "finished" if spec.by_epochs else ""
    return f"{of.status}: {of.reason}" if of.reason else of.status


def _variant(spec: "SweepSpec", trial: "Trial") -> str:
    """Return the fold and the seed of a trial, where it has any."""
    fold = f" fold={trial.fold}/{spec.kfold}" if trial.fold is not None else ""
    seed = spec.base.get("seed", spec.default.run.seed) + trial.seed
    return f"{fold} seed={seed}" if spec.seeds else fold


def _finish(console: Any, done: "Sweep") -> int:
    """Print the table, write the page, and return the exit code."""
    from ..sweeps.state import FAILED, OVER, TIMED_OUT
    from ..training.trials.crew import trial_path
    from ..training.trials.sweep import summary
    from .sweep_table import print_sweep

    state, spec = done.state, done.spec
    print_sweep(console, done)
    _write_page(spec, done.directory)
    console.say(f"{summary(state.trials)}; {done.directory / PAGE}: open it in a browser")
    best = state.best()
    if best is not None:
        path = trial_path(done.directory, spec, len(state.trials), best.number, best.life)
        ranks = f" -n {spec.ranks_per_trial}" if spec.ranks_per_trial > 1 else ""
        if spec.method == "pbt":  # its settings have changed while it trained
            console.say(f"the weights of the best are in {path}")
        else:
            console.say(f"the best again, alone: mpitrain{ranks} train --config {path / 'config.toml'} --out DIR")
    left = len(state.trials) - state.count(*OVER)
    if done.stopped and left:
        console.say(f"stopped; continue with --resume (and --out {done.directory})")
        return spec.default.checkpoint.exit_code
    return 1 if state.count(FAILED, TIMED_OUT) == len(state.trials) else 0


def _write_page(spec: "SweepSpec", directory: Path) -> None:
    from ..data.files import write_atomically
    from ..pages.sweep import sweep_page
    from ..training.trials.sweep import open_sweep

    write_atomically(directory / PAGE, sweep_page(open_sweep(spec, directory)))
