"""The display of rank 0 while it trains: a live bar on a terminal, a line for each epoch elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment

from ...config import Run
from ...expendable import expendable
from ...plain_text import visible
from ..results import EpochResult
from ..run_length import label_of
from ..step_timer import Times
from .console import PlainConsole
from .parts import Part, fit_parts, join_parts
from .score_text import score_texts
from .time_left import TimeLeft, say_time

REFRESH_SECONDS = 0.1
LONGEST_BAR, SHORTEST_BAR = 24, 4  # characters
SHORT_NAMES = {"accuracy": "acc", "perplexity": "ppl", "bits_per_byte": "bpb"}  # on narrow terminals
# parts of a line that are left out where it does not fit, the largest first
SHARES, SPEED, TRAIN_SCORES, MORE_SCORES, TRAIN_LOSS, LOSS, METRIC, ALWAYS = 7, 6, 5, 4, 3, 2, 1, 0


class ProgressLog:
    """A line for each evaluation: complete in a log, and without its less important parts on a narrow terminal.

    Parameters
    ----------
    console : PlainConsole
    settings : Run or int
        The length of the run, or its number of epochs.

    Attributes
    ----------
    is_live : bool
        True if ``step`` shows anything.
    on_note : list of callable(str)
        Called with each note.
    """

    is_live = False

    def __init__(self, console: PlainConsole, settings: Run | int):
        self.console = console
        self._settings = settings if isinstance(settings, Run) else Run(epochs=settings)
        self.on_note: list[Callable[[str], None]] = []

    def start(self, epoch: int, steps: int, done: int = 0) -> None:
        """Begin an epoch, or continue after ``done`` of its steps."""

    def note(self, text: str) -> None:
        """Print a note for the user."""
        for call in self.on_note:
            call(text)
        self._print_note(text)

    def _print_note(self, text: str) -> None:
        self.console.say(text)

    def step(self, train: dict[str, float], samples_per_second: float, times: Times) -> None:
        """Show the scores and times of the epoch after another step."""

    def epoch_done(self, result: EpochResult) -> None:
        """Print the line of an evaluation."""
        width = self.console.width if self.console.is_terminal else None
        with expendable():
            self.console.say(epoch_line(result, self._settings, width))

    def stop(self) -> None:
        """End the display."""


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
            yield Part(SPEED, _say_speed(speed))
            yield Part(SHARES, show_shares(times))


class Silent(ProgressLog):
    """Silent display."""

    def epoch_done(self, result: EpochResult) -> None:
        """Print nothing."""

    def _print_note(self, text: str) -> None:
        """Print on standard error: notes are shown in any case."""
        print(f"mpitrain: {visible(text)}", file=sys.stderr, flush=True)


def make_progress(kind: str, console: PlainConsole, settings: Run | int) -> ProgressLog:
    """Return the display for auto, bar, lines or none."""
    if kind == "auto":
        kind = "bar" if console.is_terminal and not console.is_dumb_terminal else "lines"
    return {"bar": Bar, "lines": ProgressLog, "none": Silent}[kind](console, settings)


def epoch_line(result: EpochResult, settings: Run | int, width: int | None = None) -> str:
    """Return the line of an evaluation, with as many parts as fit ``width`` characters.

    Left out are, in this order: time shares, speed, scores of the training samples, scores of the validation (or test)
    samples but accuracy or r2.
    """
    settings = settings if isinstance(settings, Run) else Run(epochs=settings)
    parts = list(_epoch_parts(result, settings, {}))
    shown = fit_parts(parts, width)
    if any(part.rank <= TRAIN_SCORES for part in parts if part not in shown):
        shown = fit_parts(list(_epoch_parts(result, settings, SHORT_NAMES)), width)
    return join_parts(shown)


def _epoch_parts(result: EpochResult, settings: Run, names: dict[str, str]) -> Iterator[Part]:
    """Yield the parts of the line; a blank before a part begins a group."""
    yield Part(ALWAYS, label_of(settings, result.epoch, result.step))
    yield Part(TRAIN_LOSS, " train")
    for name, text in score_texts(result.train, names):
        yield _score_part(TRAIN_LOSS if name == "loss" else TRAIN_SCORES, text)
    yield Part(METRIC, " validation" if result.validation else " test")
    held_out = result.held_out
    main = next((name for name in ("perplexity", "accuracy", "r2") if name in held_out), next(reversed(held_out), ""))
    for name, text in score_texts(held_out, names):
        yield _score_part(METRIC if name == main else LOSS if name == "loss" else MORE_SCORES, text)
    yield Part(SPEED, f" {_say_speed(result.samples_per_second)}")
    if shares := show_shares(result.times):
        yield Part(SHARES, f" {shares}")


def _score_part(rank: int, text: str) -> Part:
    name, _, value = text.partition(" ")
    return Part(rank, text, len(name) + 1 + len("100.00%" if value.endswith("%") else "0.001234"))


def _say_epoch(epoch: int, epochs: int) -> str:
    """Return the place in the run; without the number of epochs where that is 0."""
    if not epochs:
        return f"epoch {epoch}"
    return f"epoch {epoch:{len(str(epochs))}}/{epochs}"


def _say_speed(samples_per_second: float) -> str:
    return f"{samples_per_second:,.0f} samples/s"


def show_shares(times: Times) -> str:
    """Return time shares as text; parts below one percent are left out."""
    return " ".join(f"{name} {share:.0%}" for name, share in times.shares().items() if share >= 0.01)
