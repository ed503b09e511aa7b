"""Progress of a run as recorded in its directory, apart from checkpoints."""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from ...config import Run
from ...errors import UserError
from ..weights import read_metadata
from .run_directory import LAST, METRICS, REPORT


class History(NamedTuple):
    """Facts about the run in a directory.

    Attributes
    ----------
    begun : bool
        A run has written there.
    ended : bool
        There is a report.
    stopped : bool
        The report is that of a run that was stopped before its last epoch was done.
    epochs, steps : int
        Whole epochs and steps that were done, by the report; 0 if unknown.
    early_stop : str
        The rule by which the run ended early, by the report; empty if it did not.
    weights_step : int
        The step after which the last weights were written; 0 if unknown.
    flaw : str
        Why the last weights cannot be used; empty if they can.
    """

    begun: bool
    ended: bool
    stopped: bool
    epochs: int
    steps: int
    early_stop: str
    weights_step: int
    flaw: str

    def is_finished(self, settings: Run) -> bool:
        """Return True if a run with these settings has nothing left to do."""
        whole = self.steps == settings.steps if settings.steps else self.epochs == settings.epochs
        early = bool(self.early_stop) and self.early_stop == settings.early_stop
        done = self.ended and not self.stopped and (whole or early)
        return done and not self.flaw and self.weights_step in (0, self.steps)


def read_history(path: Path) -> History:
    """Return the history of the run in ``path``."""
    epochs, steps, weights_step, stopped, early_stop, flaw = 0, 0, 0, False, "", ""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        report = json.loads((path / REPORT).read_text("utf-8"))
        if isinstance(report, dict) and type(report.get("epochs")) is int:
            epochs, stopped = report["epochs"], report.get("stopped") is True
            steps = report["steps"] if type(report.get("steps")) is int else 0
            rule = report.get("early_stop")
            early_stop = str(rule.get("rule", "")) if isinstance(rule, dict) else ""
    try:
        weights_step = read_metadata(path / LAST).get("step", 0)
    except UserError as error:
        flaw = str(error)
    begun, ended = (path / METRICS).exists(), (path / REPORT).exists()
    return History(begun, ended, stopped, epochs, steps, early_stop, weights_step, flaw)
