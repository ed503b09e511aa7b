"""Progress of a run as its directory records it, apart from checkpoints."""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .run_directory import LAST, METRICS, REPORT
from .weights import read_metadata


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
    epochs : int
        Epochs that were done, by the report; 0 if it does not say.
    weights_epoch : int
        The epoch after which the last weights were written; 0 if they do not say.
    flaw : str
        Why the last weights cannot be used; empty if they can.
    """

    begun: bool
    ended: bool
    stopped: bool
    epochs: int
    weights_epoch: int
    flaw: str

    def is_finished(self, epochs: int) -> bool:
        """Return True if a run of so many epochs has nothing left to do."""
        done = self.ended and not self.stopped and self.epochs == epochs
        return done and not self.flaw and self.weights_epoch in (0, epochs)


def read_history(path: Path) -> History:
    """Return the history of the run in ``path``."""
    epochs, weights_epoch, stopped, flaw = 0, 0, False, ""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        report = json.loads((path / REPORT).read_text("utf-8"))
        if isinstance(report, dict) and type(report.get("epochs")) is int:
            epochs, stopped = report["epochs"], report.get("stopped") is True
    try:
        weights_epoch = read_metadata(path / LAST).get("epoch", 0)
    except UserError as error:
        flaw = str(error)
    return History((path / METRICS).exists(), (path / REPORT).exists(), stopped, epochs, weights_epoch, flaw)
