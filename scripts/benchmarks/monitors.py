"""Cost of monitors: time of rank 0 in each of their calls, and as a share of a step, writing included.

scripts/bench monitors [--steps N] [--step-ms MS] [--epoch N] [MONITOR ...]

A run of the digits is trained for real, and the calls of its monitors are timed in it: nothing else of the run counts.
Between two steps the clock of the monitors is moved on by MS, so that they write as often as in steps of that length.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import mpitrain
from mpitrain.monitor import base
from mpitrain.monitor.guard import Monitors
from mpitrain.monitor.registry import make_monitors
from mpitrain.training.hooks.dispatch import Event

ALL = ("tensorboard", "sqlite", "tensorboard,sqlite")
LIMIT = 0.02  # of a step


class Clock:
    """The monotonic clock of the monitors, which can be moved on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return time.perf_counter() + self.ahead


class Stopwatch(mpitrain.Hook):
    """Calls monitors in place of a run, and adds up the time that this takes.

    Attributes
    ----------
    seconds : dict of str to float
        By event.
    """

    def __init__(self, monitors: Monitors, clock: Clock, step_seconds: float):
        self._monitors, self._clock, self._step_seconds = monitors, clock, step_seconds
        self.seconds: dict[str, float] = {}
        self.longest = 0.0

    def time(self, event: str, info: mpitrain.StepInfo) -> None:
        """Call a method of the monitors, and move the clock on after a step."""
        begin = time.perf_counter()
        getattr(self._monitors, event)(info)
        took = time.perf_counter() - begin
        self.seconds[event] = self.seconds.get(event, 0.0) + took
        self.longest = max(self.longest, took)
        if event == "step_end":
            self._clock.ahead += self._step_seconds


def _timed(event: str) -> Callable[[Stopwatch, mpitrain.StepInfo], None]:
    def call(watch: Stopwatch, info: mpitrain.StepInfo) -> None:
        watch.time(event, info)

    return call


for name in (*get_args(Event), "gradients_ready"):
    setattr(Stopwatch, name, _timed(name))


def measure(monitors: str, steps: int, step_seconds: float, evaluate_every: int, folder: Path) -> Stopwatch:
    """Return the times of monitors in a run of so many steps."""
    clock = Clock()
    base.time = clock  # what monitors write with, they date by the real clock
    options = {"sqlite": f"file={folder / 'runs.sqlite'}", "tensorboard": f"dir={folder / 'log'}"}
    text = ",".join(f"{name}:{options[name]}" if name in options else name for name in monitors.split(","))
    watch = Stopwatch(Monitors(make_monitors(text)), clock, step_seconds)
    settings = {"steps": steps, "evaluate_every": str(evaluate_every), "batch_size": 16, "progress": "none"}
    mpitrain.Trainer("mlp:widths=8", "digits", hooks=[watch], **settings).fit()
    base.time = time
    return watch


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench monitors", description=__doc__.split("\n\n")[0])
    parser.add_argument("monitors", nargs="*", default=ALL, metavar="MONITOR", help="as in --monitor (all)")
    parser.add_argument("--steps", type=int, default=20_000, metavar="N", help="steps of the run (20000)")
    parser.add_argument("--step-ms", type=float, default=3.0, metavar="MS", help="length of a step (3)")
    parser.add_argument("--epoch", type=int, default=1000, metavar="N", help="steps between two evaluations (1000)")
    options = parser.parse_args()
    measure("tensorboard,sqlite", 10, 0.003, 5, Path(tempfile.mkdtemp()))  # imports
    over = False
    length = f"{options.steps * options.step_ms / 1e3:g} s in all, an evaluation after each {options.epoch}"
    print(f"{options.steps:,} steps of {options.step_ms:g} ms, {length}")
    for monitors in options.monitors:
        with tempfile.TemporaryDirectory() as folder:
            watch = measure(monitors, options.steps, options.step_ms / 1e3, options.epoch, Path(folder))
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        total = sum(watch.seconds.values())
        share = total / options.steps / (options.step_ms / 1e3)
        over |= share > LIMIT
        per_step = f"{1e6 * total / options.steps:.1f} us a step, {share:.2%}; {size / options.steps:.0f} bytes"
        print(f"{monitors}: {per_step}; the longest call took {1e3 * watch.longest:.1f} ms")
        for event, seconds in sorted(watch.seconds.items(), key=lambda item: -item[1]):
            print(f"    {event:16}{1e6 * seconds / options.steps:8.2f} us a step")
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
