"""State of a sweep: the trials as the events of its log have left them.

Every rank that has read the same events has the same state, and takes the same decision from it. These are the events,
which are JSON objects:

    open      a job begins to work on the sweep; trials that ran in an earlier one were interrupted
    start     a group of ranks begins a trial, or continues it; until says up to which epoch
    end       the group has ended it: status, value, step, epoch, seconds, reason
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Event = Mapping[str, Any]

WAITING, RUNNING, PAUSED, INTERRUPTED = "waiting", "running", "paused", "interrupted"
FINISHED, FAILED, TIMED_OUT = "finished", "failed", "timed out"
OVER = (FINISHED, FAILED, TIMED_OUT)
MOST_ATTEMPTS = 3
"""Jobs that may end by themselves while a trial runs in them, before it has got any further: then it has failed."""


@dataclass
class TrialState:
    """A trial as the log tells.

    Attributes
    ----------
    scores, test : mapping
        All scores of the samples that it is judged by, and of the test samples, at the evaluation of ``value``.
    status : str
        waiting, running, paused (at a rung or an interval), interrupted (to be continued), finished, failed or timed
        out.
    value : float
        The latest value of the objective; NaN before there is one.
    reports : dict of float to float
        The value at each epoch where the trial was paused or has finished.
    seconds : float
        Time over all parts of the trial.
    reason : str
        Why it failed or timed out.
    rank : int
        The rank that leads the group which ran it last; -1 before.
    attempts : int
        Jobs that have ended while it ran, without any progress since.
    life : int
        Number of the directory of its run: it grows where a trial takes over the weights of another.
    values : mapping or None
        Values of the parameters where they are not those of the plan.
    until : float
        The epoch up to which it was last started.
    """

    number: int
    status: str = WAITING
    value: float = math.nan
    reports: dict[float, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    rank: int = -1
    attempts: int = 0
    life: int = 0
    values: Mapping[str, Any] | None = None
    until: float = 0.0
    ended: float = math.nan
    parent: int = -1

    @property
    def is_over(self) -> bool:
        """True where nothing more will happen."""
        return self.status in OVER


class SweepState:
    """The trials of a sweep.

    Parameters
    ----------
    number : int
        Number of trials, which are numbered from 0.
    larger_is_better : bool
    """

    def __init__(self, number: int, *, larger_is_better: bool):
        self.trials = [TrialState(i) for i in range(number)]
        self.larger_is_better = larger_is_better
        self.began = math.nan
        self.jobs = 0

    def apply(self, events: Iterable[Event]) -> None:
        """Change the trials by events of the log."""
        for event in events:
            getattr(self, f"_{event['event']}")(event)

    def better(self, value: float) -> float:
        """Return a key that is larger for a better value; NaN is worst."""
        if math.isnan(value):
            return -math.inf
        return value if self.larger_is_better else -value

    def count(self, *statuses: str) -> int:
        """Return the number of trials with one of these statuses."""
        return sum(trial.status in statuses for trial in self.trials)

    def best(self) -> TrialState | None:
        """Return the trial with the best value, of equal ones the first; None before any has one."""
        found = [trial for trial in self.trials if not math.isnan(trial.value) and trial.status != FAILED]
        return max(found, key=lambda trial: (self.better(trial.value), -trial.number), default=None)

    def _open(self, event: Event) -> None:
        self.jobs += 1
        if math.isnan(self.began):
            self.began = event["time"]
        for trial in self.trials:
            if trial.status == RUNNING:
                trial.status, trial.attempts = INTERRUPTED, trial.attempts + 1
                if trial.attempts >= MOST_ATTEMPTS:
                    trial.status = FAILED
                    trial.reason = f"{trial.attempts} jobs ended while it ran, before it got any further"

    def _start(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.status, trial.rank, trial.until = RUNNING, event["rank"], event.get("until", 0.0)
        if event.get("life", trial.life) != trial.life:
            trial.life, trial.parent, trial.attempts = event["life"], event["parent"], 0
        if event.get("values") is not None:
            trial.values = event["values"]
        if event.get("step", 0) > trial.step:  # it got further than a job before that ended
            trial.step, trial.attempts = event["step"], 0

    def _end(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.status, trial.reason = event["status"], event.get("reason", "")
        trial.seconds += event.get("seconds", 0.0)
        trial.step, trial.epoch = event.get("step", trial.step), event.get("epoch", trial.epoch)
        trial.ended, trial.attempts = event.get("time", math.nan), 0
        if event.get("value") is not None:
            trial.value = float(event["value"])
            trial.scores, trial.test = event.get("scores", {}), event.get("test", {})
            trial.reports[trial.epoch] = trial.value
