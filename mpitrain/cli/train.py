"""``mpitrain train``: train a network on all ranks."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from ..config import Config
from ..config_check import check
from ..config_file import read_config
from ..errors import AgreedError, UserError
from ..lora_options import continued
from ..plain_text import count
from ..training.directory.run_directory import CONFIG
from .options import given_before, parse_options
from .order import Job
from .resume import leave, run_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..comm.world import World
    from ..training.directory.open_run import Place
    from ..training.display.progress_log import ProgressLog
    from ..training.hooks import Hook
    from ..training.loop import TrainingLoop
    from ..training.run import TrainingRun
    from ..training.setup import TrainingSetup

DESCRIPTION = "Train a network on all ranks of a job: mpitrain -n 8 train, or mpirun -n 8 python -m mpitrain train."


LAST_WORDS_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Config):
    """Options of train."""

    config: Annotated[str, arg(name="config", metavar="FILE")] = ""
    """TOML file with settings; options given here override it. Each run directory holds one, config.toml."""
    resume: Annotated[str, arg(name="resume", metavar="RUN")] = ""
    """Continue from a checkpoint: a run directory or a file in its checkpoints/; auto takes the newest complete one of
    --out (else of the last runs/DATA-MODEL-N), or begins a new run without one. Options not given are the run's."""
    allow_changed_data: bool = False
    """Resume even if the data are not those of the checkpoint; differences are printed as a note."""
    dry_run: bool = False
    """Print the layers, the memory of each rank, the steps and the messages of the run, and do nothing else."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    given = given_before(argv, "config", "resume", "out")
    if not given.resume:
        return _job(_parse(argv, speaks, given.config), given.config)
    directory = run_of(given.resume, given.out, lambda: _planned(argv, speaks, given.config))
    earlier = "" if directory is None or not (directory / CONFIG).is_file() else str(directory / CONFIG)
    options = _parse(argv, speaks, given.config or earlier)
    if directory is not None:
        options = dataclasses.replace(options, run=dataclasses.replace(options.run, out=str(directory)))
    if earlier:
        model = options.model
        lora = continued(model.lora, read_config(Path(earlier)).model.lora)
        options = dataclasses.replace(options, model=dataclasses.replace(model, lora=lora))
    return _job(options, given.config or earlier)


def _job(options: TrainOptions, file: str) -> Job:
    config, resume, allowed = _config_of(options), options.resume, options.allow_changed_data

    def run(world: "World") -> int:
        return rehearse(config, world) if options.dry_run else train(config, world, resume, allow_changed_data=allowed)

    return Job("train", options, run, file)


def _parse(argv: list[str], speaks: bool, path: str) -> TrainOptions:
    """Return the options of ``argv``, over the settings of the file at ``path`` where there is one."""
    config = read_config(Path(path)) if path else Config()
    by_epochs = any(word.partition("=")[0] == "--epochs" for word in argv)
    if by_epochs:  # the file may have steps, which come before epochs
        config = dataclasses.replace(config, run=dataclasses.replace(config.run, steps=0))
    default = TrainOptions(config=path, **branches(config))
    options = parse_options(
        TrainOptions, argv, command="train", description=DESCRIPTION, default=default, speaks=speaks
    )
    if by_epochs and options.run.steps:
        raise UserError("--epochs and --steps both say how long the run is: leave one of them out")
    check(_config_of(options))
    return options


def _config_of(options: TrainOptions) -> Config:
    return Config(**branches(options))


def _planned(argv: list[str], speaks: bool, path: str) -> Config:
    """Return the settings of a new run, which name its directory."""
    from ..training.pretrained.with_weights import with_weights

    return with_weights(_config_of(_parse(argv, speaks, path)))


def branches(config: Config) -> dict[str, Any]:
    """Return the settings of ``config`` by their groups, without more options that a subclass has."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}


def rehearse(config: Config, world: "World") -> int:
    """Print the plan of ``train``: open the data and build the model, but train and write nothing."""
    from ..training.build import make_loop
    from ..training.opening import open_training
    from ..training.outline import try_passes
    from .dry_run import print_dry_run, print_layers, print_memory, print_stages
    from .terminal import make_console

    config, setup, threads = open_training(config, world)
    console, progress = make_console(quiet=world.rank != 0), make_screen(config, world)[1]
    size = world.size if setup.roles is None else setup.roles.samples.size
    passes = try_passes(setup, config, size) if setup.pipeline is None else None
    run = make_loop(config, setup, world, progress).run
    _introduce(console, config, run, world, threads)
    if passes is not None:
        print_layers(console, run, passes)
        print_memory(console, run, passes)
    elif setup.pipeline is not None:
        print_stages(console, setup.pipeline)
    print_dry_run(console, run)
    run.data_parallel.free()
    return 0


def train(config: Config, world: "World", resume: str = "", *, allow_changed_data: bool = False) -> int:
    """Train, and write and print the results (rank 0)."""
    from ..monitor.opening import open_monitors
    from ..training.directory.open_run import open_run
    from ..training.hooks.registry import make_hooks
    from ..training.opening import open_training
    from .training_streams import drain, protect

    begin = time.perf_counter()
    protect()
    config, setup, threads = open_training(config, world, resume, divide=True)
    console, progress = make_screen(config, world)
    with world.together():
        hooks = {"hooks": make_hooks(config.run.hook)}
    hooks["observers"] = open_monitors(config.run, world, has_directory=True)
    place = open_run(config, world, resume, setup, progress.note, allow_changed_data=allow_changed_data)
    if place is None:
        return 0
    with place.owner:
        code = _train(config, setup, world, place, (console, progress), hooks, threads, begin)
    if world.elastic:  # a process that has lost others may end without the usual steps
        drain(LAST_WORDS_SECONDS)
    return code


def _train(
    config: Config,
    setup: "TrainingSetup",
    world: "World",
    place: "Place",
    screen: tuple[Any, "ProgressLog"],
    hooks: "dict[str, list[Hook]]",
    threads: int,
    begin: float,
) -> int:
    """Train in ``place`` from the position of its run; return the exit code."""
    from ..training.build import make_loop
    from ..training.directory.open_run import reopen_run
    from ..training.directory.resume import restore, with_normalizers_of
    from ..training.elastic import train_elastically
    from .signals import Signals

    console, progress = screen
    if place.checkpoint is not None:
        setup = with_normalizers_of(place.checkpoint, setup)
    signals = Signals()
    options: dict[str, Any] = {"control": signals, "run_path": place.path, **hooks}
    loop = make_loop(config, setup, world, progress, directory=place.directory, **options)
    with world.together():
        if place.checkpoint is not None:
            restore(loop.run, place.checkpoint)
    _introduce(console, config, loop.run, world, threads)
    if place.checkpoint is not None:
        console.say(f"resumed after step {loop.run.step:,} from {place.checkpoint.path}")

    def rebuild(world: "World", before: "TrainingLoop") -> "TrainingLoop":
        directory = reopen_run(place, before, world)
        loop = make_loop(config, setup, world, make_screen(config, world)[1], directory=directory, **options)
        loop.run.continue_from(before.run)
        return loop

    def work(loop: "TrainingLoop") -> None:
        loop.train()
        if not loop.run.preempted:
            _report(loop, place.path, time.perf_counter() - begin)

    try:
        loop = train_elastically(loop, work, rebuild) if world.elastic else _once(loop, work)
    except AgreedError:
        loop.run.data_parallel.free()
        raise
    return leave(loop, place, console) if loop.run.preempted else 0


def _once(loop: "TrainingLoop", work: "Callable[[TrainingLoop], None]") -> "TrainingLoop":
    work(loop)
    if not loop.run.preempted:
        loop.run.data_parallel.free()
    return loop


def make_screen(config: Config, world: "World") -> tuple[Any, "ProgressLog"]:
    """Return the console and the progress display: live on rank 0, silent on the others."""
    from ..training.display.progress import make_progress
    from ..training.display.silent_console import SilentConsole
    from .terminal import make_console

    if world.rank != 0:
        silent = SilentConsole()
        return silent, make_progress("none", silent, config.run)
    console = make_console(quiet=config.run.progress == "none")
    return console, make_progress(config.run.progress, console, config.run)


def _report(loop: "TrainingLoop", path: Path, seconds: float) -> None:
    from ..training.hooks.recorder import Recorder
    from ..training.report import print_report, write_results
    from .training_streams import output_problems

    world = loop.run.world
    report = write_results(loop, path, seconds, {"output": output_problems()})
    with world.together(asleep=True):
        if loop.hooks[Recorder].directory is not None:
            print_report(report, path, make_screen(loop.run.config, world)[0])


def _introduce(console: Any, config: Config, run: "TrainingRun", world: "World", threads: int) -> None:
    from ..training.report import NOTHING_TO_SUM

    setup, sync, o = run.setup, run.data_parallel, config.optimizer
    data = setup.dataset
    shape = " x ".join(map(str, data.input_shape))
    kinds = {"classification": "classes", "segmentation": "classes of pixels", "language-modeling": "tokens"}
    outputs = f"{data.num_outputs:,} {kinds[data.task]}" if data.task in kinds else count(data.num_outputs, "number")
    validating = "" if data.validation is None else f", {len(data.validation):,} validation"
    shared = ", more ranks than cores" if world.oversubscribed else ""
    trained = "" if setup.num_trained == setup.num_parameters else f", {setup.num_trained:,} of them trained"
    sums, reasons = "one rank, nothing to sum", ""
    parts = [] if setup.roles is None else [setup.roles.mesh.placement]
    if setup.pipeline is not None:
        parts = setup.pipeline.describe()
    if parts and run.group.size == 1:
        sums = NOTHING_TO_SUM
    elif world.size > 1:
        reasons = "".join(f"; auto takes {reason}" for reason in sync.reasons)
        sums = sync.sync.describe()
    lines = [
        f"{count(world.size, 'rank')}, {count(threads, 'BLAS thread')} each{shared} ({world.mpi_version})",
        *([f"on {', '.join(run.devices)}; products in {config.compute.precision}"] if world.has_devices else []),
        f"{data.name}: {len(data.train):,} training{validating} and {count(len(data.test), 'test sample')}, "
        f"{shape} -> {outputs}",
        *data.notes,
        f"{config.model.name}: {setup.num_parameters:,} parameters{trained}; {o.name}, lr {o.peak_lr:g} {o.schedule}, "
        f"batch {config.data.batch_size}, {count(len(run.loader), 'step')} an epoch",
        *parts,
        f"gradients: {sums}{reasons}",
    ]
    for line in [*lines, *world.notes]:
        console.say(line)
