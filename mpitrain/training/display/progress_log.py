"""Progress of a run as lines: one for each evaluation."""

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...config import Run
from ...expendable import expendable
from ...plain_text import visible
from ..results import EpochResult
from ..run_length import label_of
from ..step_timer import Times
from .parts import Part, fit_parts, join_parts
from .score_text import score_texts
from .silent_console import SilentConsole

if TYPE_CHECKING:  # a console prints by rich, which ranks without output do not load
    from .console import PlainConsole

SHORT_NAMES = {"accuracy": "acc", "perplexity": "ppl", "bits_per_byte": "bpb"}  # on narrow terminals
# parts of a line that are left out where it does not fit, the largest first
SHARES, SPEED, TRAIN_SCORES, MORE_SCORES, TRAIN_LOSS, LOSS, METRIC, ALWAYS = 7, 6, 5, 4, 3, 2, 1, 0


class ProgressLog:
    """A line for each evaluation: complete in a log, and without its less important parts on a narrow terminal.

    Parameters
    ----------
    console : PlainConsole or SilentConsole
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

    def __init__(self, console: "PlainConsole | SilentConsole", settings: Run | int):
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


class Silent(ProgressLog):
    """Silent display."""

    def epoch_done(self, result: EpochResult) -> None:
        """Print nothing."""

    def _print_note(self, text: str) -> None:
        """Print on standard error: notes are shown in any case."""
        print(f"mpitrain: {visible(text)}", file=sys.stderr, flush=True)


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
    yield Part(SPEED, f" {say_speed(result.samples_per_second)}")
    if shares := show_shares(result.times):
        yield Part(SHARES, f" {shares}")


def _score_part(rank: int, text: str) -> Part:
    name, _, value = text.partition(" ")
    return Part(rank, text, len(name) + 1 + len("100.00%" if value.endswith("%") else "0.001234"))


def say_speed(samples_per_second: float) -> str:
    """Return a speed as text."""
    return f"{samples_per_second:,.0f} samples/s"


def show_shares(times: Times) -> str:
    """Return time shares as text; parts below one percent are left out."""
    return " ".join(f"{name} {share:.0%}" for name, share in times.shares().items() if share >= 0.01)
