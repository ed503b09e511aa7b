"""``mpitrain train``: train a network on all ranks."""

import argparse
import dataclasses
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from tyro.conf import arg

from ..config import Config, check
from ..config_file import read_config
from ..errors import AgreedError
from .options import parse_options

if TYPE_CHECKING:
    from ..comm.world import World
    from ..training.session import Session
    from ..training.trainer import Trainer
    from .main import Job

DESCRIPTION = (
    "Train a network on all ranks of an MPI job: mpirun -n 8 python -m mpitrain [train] [OPTIONS]. "
    "Other commands: evaluate, predict, collective (each with --help)."
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Config):
    """Options of train."""

    config: Annotated[Path | None, arg(name="config")] = None
    """TOML file with settings; options given here override it. Each run directory holds one, config.toml."""


def parse(argv: list[str], speaks: bool) -> "Job":
    """Return the job that ``argv`` asks for."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    path = first.parse_known_args([a for a in argv if a != "--config" or argv[-1] != a])[0].config
    config = Config() if path is None else read_config(path)
    branches = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
    default = TrainOptions(config=path, **branches)
    options = parse_options(
        TrainOptions, argv, command="train", description=DESCRIPTION, default=default, speaks=speaks
    )
    config = Config(**{name: getattr(options, name) for name in branches})
    check(config)
    return lambda world: train(config, world)


class StopOnSignal:
    """Turns the first SIGINT or SIGTERM into a flag that the trainer asks for; a second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def __call__(self) -> bool:
        """Return True once a signal has come."""
        return self.asked

    def _stop(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def train(config: Config, world: "World") -> int:
    """Train, and write and print the results (rank 0)."""
    from ..device import CPU
    from ..training.curves import draw_curves
    from ..training.progress import make_progress
    from ..training.report import count, make_report, print_report
    from ..training.run_directory import CURVES, RunDirectory, choose_directory
    from ..training.session import open_session
    from ..training.trainer import Trainer
    from .terminal import make_console

    begin = time.perf_counter()
    threads = config.parallel.threads or world.cores
    CPU.use_threads(threads)
    with world.together():
        world.check_name(config.parallel.all_reduce)
    session = open_session(config, world)
    config = _resolved(config, session)
    directory = None
    console = make_console(quiet=world.rank != 0 or config.run.progress == "none")
    with world.together():
        if world.rank == 0:
            directory = RunDirectory(choose_directory(config), config)
    progress = make_progress(config.run.progress if world.rank == 0 else "none", console, config.run.epochs)
    trainer = Trainer(config, session, world, directory, progress, StopOnSignal())
    _introduce(console, config, trainer, world, threads)
    try:
        trainer.run()
    except AgreedError:
        trainer.data_parallel.free()
        raise
    report = make_report(trainer, world, time.perf_counter() - begin)
    with world.together():
        if directory is not None:
            directory.write_report(report)
            directory.close()
            print_report(report, directory.path, console)
            title = f"{config.model.name} on {session.dataset.name}, {count(world.size, 'rank')}"
            draw_curves(trainer.results, trainer.metric, title, directory.path / CURVES)
    trainer.data_parallel.free()
    return 0


def _resolved(config: Config, session: "Session") -> Config:
    """Return ``config`` with what ``auto`` and defaults turned out to be."""
    task = cast(Literal["classification", "regression"], session.dataset.task)
    data = dataclasses.replace(config.data, task=task)
    optimizer = dataclasses.replace(config.optimizer, lr=config.optimizer.peak_lr)
    return dataclasses.replace(config, data=data, optimizer=optimizer)


def _introduce(console: Any, config: Config, trainer: "Trainer", world: "World", threads: int) -> None:
    from ..training.report import count

    session, sync, o = trainer.session, trainer.data_parallel, config.optimizer
    data = session.dataset
    shape = " x ".join(map(str, data.input_shape))
    outputs = f"{data.num_outputs} classes" if data.task == "classification" else count(data.num_outputs, "number")
    shared = ", more ranks than cores" if world.oversubscribed else ""
    sums, reasons = "one rank, nothing to sum", ""
    if world.size > 1:
        reasons = "".join(f"; auto takes {reason}" for reason in sync.reasons)
        sums = sync.exchange.describe()
    lines = [
        f"{count(world.size, 'rank')}, {count(threads, 'BLAS thread')} each{shared} ({world.mpi_version})",
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test samples, {shape} -> {outputs}",
        *([data.note] if data.note else []),
        f"{config.model.name}: {session.arena.num_parameters:,} parameters; {o.name}, lr {o.peak_lr:g} {o.schedule}, "
        f"batch {config.data.batch_size}, {count(len(trainer.loader), 'step')} an epoch",
        f"gradients: {sums}{reasons}",
    ]
    for line in [*lines, *world.notes]:
        console.print(line, highlight=False, soft_wrap=True)
