"""What rank 0 shows while it trains: a live bar on a terminal, a line an epoch elsewhere."""

import sys
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .clock import Times

REFRESH_SECONDS = 0.1


@dataclass(frozen=True)
class EpochResult:
    """The figures of one epoch, over all ranks; losses and scores are means over samples."""

    epoch: int
    step: int
    lr: float
    train: dict[str, float]
    test: dict[str, float]
    samples_per_second: float
    seconds: float
    times: Times


class Lines:
    """A line an epoch, for logs."""

    def __init__(self, console: Console, epochs: int):
        self.console, self._epochs = console, epochs

    def start(self, epoch: int, steps: int, done: int = 0) -> None:
        """An epoch begins, or goes on after ``done`` of its steps."""

    def note(self, text: str) -> None:
        """Something happened that the user should know."""
        self.console.print(text, soft_wrap=True)

    def step(self, train: dict[str, float], samples_per_second: float, times: Times) -> None:
        """A step is done: the scores and times of the epoch so far."""

    def epoch_done(self, result: EpochResult) -> None:
        """An epoch is done: its line."""
        width = len(str(self._epochs))
        self.console.print(
            f"epoch {result.epoch:{width}}/{self._epochs}  train {show_scores(result.train)}"
            f"  test {show_scores(result.test)}  {result.samples_per_second:,.0f} samples/s"
            f"  {show_shares(result.times)}",
            soft_wrap=True,
        )

    def stop(self) -> None:
        """Nothing more will be shown."""


class Bar(Lines):
    """A progress bar for the epoch that runs, above it a line for each that is done."""

    def __init__(self, console: Console, epochs: int):
        super().__init__(console, epochs)
        self._shown = 0.0
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            auto_refresh=False,
        )
        self._task: Any = None

    def start(self, epoch: int, steps: int, done: int = 0) -> None:
        """Show a bar with ``done`` steps."""
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("", total=steps, epoch=epoch, epochs=self._epochs)
        self._progress.reset(self._task, total=steps, completed=done, description="", epoch=epoch, epochs=self._epochs)
        self._steps = done

    def step(self, train: dict[str, float], samples_per_second: float, times: Times) -> None:
        """Move the bar, ten times a second at most."""
        self._steps += 1
        now = time.perf_counter()
        if now - self._shown >= REFRESH_SECONDS:
            self._shown = now
            text = f"{show_scores(train)}  {samples_per_second:,.0f} samples/s  {show_shares(times)}"
            self._progress.update(self._task, completed=self._steps, description=text, refresh=True)

    def stop(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class Silent(Lines):
    """Nothing."""

    def epoch_done(self, result: EpochResult) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """On the standard error: what is wrong is said even so."""
        print(f"mpitrain: {text}", file=sys.stderr, flush=True)


def make_progress(kind: str, console: Console, epochs: int) -> Lines:
    """Return the display for auto, bar, lines or none."""
    if kind == "auto":
        kind = "bar" if console.is_terminal else "lines"
    return {"bar": Bar, "lines": Lines, "none": Silent}[kind](console, epochs)


def show_scores(scores: dict[str, float]) -> str:
    """Return scores as text: percent for accuracy, else four digits."""
    return " ".join(f"{k} {v:.2%}" if k == "accuracy" else f"{k} {v:.4g}" for k, v in scores.items())


def show_shares(times: Times) -> str:
    """Return time shares as text; parts below one percent are left out."""
    return " ".join(f"{name} {share:.0%}" for name, share in times.shares().items() if share >= 0.01)
