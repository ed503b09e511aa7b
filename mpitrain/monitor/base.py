"""Base class of monitors, and their pace: how often they may take time from the training."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DEFAULT_LR, OTHER_LR, Config, option_values
from ..data.dataset import Split
from ..errors import UserError
from ..registry import short_name
from ..training.hooks import Hook, StepInfo
from .run_id import find_run_id

DELAY_SECONDS = 2.0
"""Time that figures may wait in memory."""

RETRY_SECONDS = 30.0
"""Time after a failure to write before the next attempt."""

RESOLVED = {"accumulate": 1, "task": "classification"}
"""Values that stand in the settings of most runs where the option has its default, auto."""

SHARE = 0.005
"""Part of the time of rank 0, for which all ranks wait, that each kind of writing may take."""


class Monitor(Hook):
    """Hook on rank 0 that brings figures of the run to another place, and never ends the run.

    Any hook can serve as a monitor; this class adds ``check`` and ``test_outputs``. One that raises a ``UserError``
    during the training is called again, after one warning; after another exception it is left out for the rest of the
    run. A monitor must not call collectives, since it runs on rank 0 only.
    """

    ranks = "first"

    def check(self, has_directory: bool) -> None:
        """Raise a UserError for what will not work; called on rank 0 before the run has written anything.

        Parameters
        ----------
        has_directory : bool
            Whether the run will have a directory (``info.run.path``).
        """

    def test_outputs(self, info: StepInfo, split: Split, rows: slice, outputs: np.ndarray) -> None:
        """Run in an evaluation, before ``evaluate_end``, for each batch of this rank's test samples.

        In a pipeline of several ranks, rank 0 has no outputs, and this is not called.

        Parameters
        ----------
        split : Split
            All test samples.
        rows : slice
            Those of the batch.
        outputs : array
            The outputs of the model for them, in the memory of the device; valid until this returns.
        """

    def run_id(self, info: StepInfo) -> str:
        """Return the id of the run, which is the same where it is resumed; a new one for a run without a directory."""
        return find_run_id(info.run.path)

    def settings(self, info: StepInfo) -> dict[str, Any]:
        """Return all settings of the run, by the names of their options without dashes in front."""
        return _by_name(info.run.config)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are missing.

    Raises
    ------
    UserError
        If that cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{path} is not a directory") from None
    except OSError as error:
        raise UserError(f"cannot make the directory {path}: {error.strerror}") from None


def changed_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return those of all settings of a run that are not the defaults, or what these stand for."""
    default = _by_name(Config())
    default["lr"] = DEFAULT_LR.get(short_name(settings["optimizer"]), OTHER_LR)
    return {name: value for name, value in settings.items() if value not in (default[name], RESOLVED.get(name))}


def _by_name(config: Config) -> dict[str, Any]:
    return {name.removeprefix("--"): value for name, value in option_values(config)}


class Pace:
    """The moments at which work may be done that all ranks wait for: rarely enough to take 0.5% of the time.

    Parameters
    ----------
    delay : float
        The least number of seconds between the ends of two works.
    """

    def __init__(self, delay: float = 0.0):
        self._delay = delay
        self._next = time.monotonic() + delay

    @property
    def is_due(self) -> bool:
        """True if the next work may be done."""
        return time.monotonic() >= self._next

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """Measure the time of the block; after an exception the next work is due much later."""
        begin = time.monotonic()
        self._next = begin + RETRY_SECONDS
        yield
        now = time.monotonic()
        self._next = now + max(self._delay, (now - begin) / SHARE)
