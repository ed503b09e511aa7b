"""The live bar of an epoch, by rich."""

import time
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment

from ...config import Run
from ...expendable import expendable
from ..step_timer import Times
from .console import PlainConsole
from .parts import Part, fit_parts, join_parts
from .progress_log import ALWAYS, METRIC, MORE_SCORES, SHARES, SPEED, ProgressLog, say_speed, show_shares
from .score_text import score_texts
from .time_left import TimeLeft, say_time

REFRESH_SECONDS = 0.1
LONGEST_BAR, SHORTEST_BAR = 24, 4  # characters


class Bar(ProgressLog):
    """A progress bar of the epoch that runs, below a line for each epoch that is done."""

    is_live = True

    def __init__(self, console: PlainConsole, settings: Run | int):
        super().__init__(console, settings)
        self._shown = 0.0
        run = self._settings
        self._bar = BarLine(0, TimeLeft(0, total_steps=run.steps)) if run.steps else BarLine(run.epochs)
        self._live = Live(console=console, transient=True, auto_refresh=False, get_renderable=lambda: self._bar)

    def start(self, epoch: int, steps: int, done: int = 0) -> None:
        """Show a bar with ``done`` steps."""
        self._bar.start(epoch, steps, done)
        if not self._live.is_started:
            self._live.start()

    def step(self, train: dict[str, float], samples_per_second: float, times: Times) -> None:
        """Move the bar, ten times a second at most."""
        self._bar.step(train, samples_per_second, times)
        now = time.perf_counter()
        if now - self._shown >= REFRESH_SECONDS:
            self._shown = now
            with expendable():
                self._live.refresh()

    def stop(self) -> None:
        """Remove the bar."""
        self._live.stop()


class BarLine:
    """One line: the epoch, the bar, steps, time left of the epoch and of the run; then scores, speed and time shares.

    The last parts are left out where the console is too narrow for them.
    """

    def __init__(self, epochs: int, left: TimeLeft | None = None):
        self._epochs, self._left = epochs, left or TimeLeft(epochs)
        self._epoch = self._steps = self._done = 0
        self._figures: tuple[dict[str, float], float, Times] | None = None

    def start(self, epoch: int, steps: int, done: int) -> None:
        """Begin an epoch."""
        self._epoch, self._steps, self._done, self._figures = epoch, steps, done, None
        self._left.start_epoch(epoch, steps, done)

    def step(self, train: dict[str, float], samples_per_second: float, times: Times) -> None:
        """Count a step."""
        self._done += 1
        self._figures = train, samples_per_second, times
        self._left.step(self._done)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the line, as wide as the console at most."""
        before = f"{_say_epoch(self._epoch, self._epochs)} "
        left = f"left {say_time(self._left.of_epoch)}, run {say_time(self._left.of_run)}"
        after = [Part(ALWAYS, f"{self._done:{len(str(self._steps))}}/{self._steps}"), Part(ALWAYS, left)]
        room = options.max_width - len(before) - 1
        shown = fit_parts([*after, *self._say_figures()], room - LONGEST_BAR // 2)
        text = f" {join_parts(shown)}"
        bar = max(SHORTEST_BAR, min(LONGEST_BAR, room - len(text)))
        yield Segment(before)
        yield from ProgressBar(self._steps, self._done, bar).__rich_console__(console, options)
        yield Segment(text[: max(0, room - bar)])

    def _say_figures(self) -> Iterator[Part]:
        if self._figures is not None:
            train, speed, times = self._figures
            yield from (Part(METRIC if k == "loss" else MORE_SCORES, text) for k, text in score_texts(train, {}))
            yield Part(SPEED, say_speed(speed))
            yield Part(SHARES, show_shares(times))


def _say_epoch(epoch: int, epochs: int) -> str:
    """Return the place in the run; without the number of epochs where that is 0."""
    if not epochs:
        return f"epoch {epoch}"
    return f"epoch {epoch:{len(str(epochs))}}/{epochs}"
