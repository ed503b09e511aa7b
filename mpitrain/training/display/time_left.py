"""Estimates of the time left of an epoch and of a run."""

import time
from collections.abc import Callable


class TimeLeft:
    """Estimator of the seconds left of the current epoch and of the whole run, from the speed so far.

    An epoch is counted from its start to the start of the next: evaluation and checkpoints are part of it.

    Parameters
    ----------
    epochs : int
    clock : callable() -> float
        Seconds.
    total_steps : int
        Steps of the run, if its length is given in steps and not in epochs.

    Examples
    --------
    >>> now = iter([0.0, 2.0])
    >>> left = TimeLeft(epochs=3, clock=lambda: next(now))
    >>> left.start_epoch(1, 10)
    >>> left.step(4)
    >>> left.of_epoch, left.of_run
    (3.0, 13.0)
    """

    def __init__(self, epochs: int, clock: Callable[[], float] = time.perf_counter, *, total_steps: int = 0):
        self._epochs, self._clock, self._total_steps = epochs, clock, total_steps
        self._epoch = self._steps = self._first = self._done = 0
        self._begin = self._now = 0.0
        self._per_step = self._per_epoch = 0.0  # of the last complete epoch

    def start_epoch(self, epoch: int, steps: int, done: int = 0) -> None:
        """Begin epoch number ``epoch`` of ``steps`` steps, ``done`` of which were done in an earlier process."""
        now = self._clock()
        if self._steps and self._done == self._steps and self._done > self._first:
            whole = self._steps / (self._steps - self._first)  # the first may have begun in its middle
            self._per_step = (self._now - self._begin) / (self._steps - self._first)
            self._per_epoch = now - self._begin + (whole - 1) * (self._now - self._begin)
        self._epoch, self._steps, self._first, self._done = epoch, steps, done, done
        self._begin = self._now = now

    def step(self, done: int) -> None:
        """Record that ``done`` steps of the epoch are done."""
        self._done, self._now = done, self._clock()

    @property
    def of_epoch(self) -> float | None:
        """Seconds that its steps will take; None before anything is known."""
        per_step = self._seconds_per_step()
        return None if per_step is None else per_step * (self._steps - self._done)

    @property
    def of_run(self) -> float | None:
        """Seconds that all steps and evaluations will take; None before anything is known."""
        per_step = self._seconds_per_step()
        if per_step is None:
            return None
        after_steps = max(0.0, self._per_epoch - self._per_step * self._steps)
        epochs = self._total_steps / self._steps if self._total_steps else self._epochs
        epochs_left = epochs - self._epoch
        return per_step * (self._steps - self._done + epochs_left * self._steps) + after_steps * (epochs_left + 1)

    def _seconds_per_step(self) -> float | None:
        new = self._done - self._first
        if not new:
            return self._per_step or None
        if not self._per_step:
            return (self._now - self._begin) / new
        trust = min(1.0, 4 * new / self._steps)  # the first steps of an epoch say little
        return trust * (self._now - self._begin) / new + (1 - trust) * self._per_step


def say_time(seconds: float | None) -> str:
    """Return seconds as text: hours, minutes and seconds, or days.

    >>> say_time(7.6), say_time(75), say_time(3 * 3600 + 61), say_time(None)
    ('0:08', '1:15', '3:01:01', '-:--')
    >>> say_time(51 * 3600), say_time(1e6)
    ('2 d 3 h', '11 d')
    """
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days = hours // 24
    if days >= 2:
        return f"{days} d" if days >= 10 else f"{days} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
