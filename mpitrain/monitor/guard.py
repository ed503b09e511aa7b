"""The hook of all monitors: it calls them on rank 0, and what fails in them does not end the run."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..data.dataset import Split
from ..errors import UserError
from ..training.hooks import Hook, StepInfo
from ..training.hooks.dispatch import EVENTS, overriding
from .base import Monitor


class Monitors(Hook):
    """Hook that passes events on to monitors on rank 0, and gathers the times of all ranks for them.

    A monitor that fails is named in one warning, however often it fails: training continues. Only what a monitor
    cannot do before the first step ends the run, on all ranks.

    Parameters
    ----------
    monitors : sequence of (str, Hook)
        With their names for messages.
    """

    decides = False

    def __init__(self, monitors: Sequence[tuple[str, Hook]]):
        self._names = {monitor: name for name, monitor in monitors}
        self._methods: dict[str, list[tuple[Hook, Callable[..., Any]]]] = {event: [] for event in EVENTS}
        self._warned: set[Hook] = set()
        self._left_out: set[Hook] = set()
        self._begun = False

    def train_begin(self, info: StepInfo) -> None:
        """Begin, or continue where a run is resumed or has lost ranks."""
        with info.run.world.together():
            if info.rank == 0:
                left = [monitor for monitor in self._names if monitor not in self._left_out]
                self._methods = {event: overriding(left, event) for event in EVENTS}
                self._methods["test_outputs"] = _taking_outputs(left)
                if self._methods["test_outputs"]:
                    info.run.on_test_outputs.append(self._pass_outputs)
                self._call("train_begin", info)
        self._begun = True

    def epoch_begin(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("epoch_begin", info)

    def step_begin(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("step_begin", info)

    def gradients_ready(self, info: StepInfo) -> None:
        """Pass it on; the update is made whatever a monitor returns."""
        self._call("gradients_ready", info)

    def step_end(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("step_end", info)

    def interrupted(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("interrupted", info)

    def evaluate(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("evaluate", info)

    def evaluate_end(self, info: StepInfo) -> None:
        """Gather the times of all ranks, and pass it on."""
        info.run.times_of_ranks = info.run.world.all_gather(info.run.period_times)
        self._call("evaluate_end", info)

    def checkpoint_begin(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("checkpoint_begin", info)

    def epoch_end(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("epoch_end", info)

    def train_end(self, info: StepInfo) -> None:
        """Pass it on."""
        self._call("train_end", info)

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Pass it on."""
        self._call("exception", info, error)

    def _pass_outputs(self, info: StepInfo, split: Split, rows: slice, outputs: np.ndarray) -> None:
        self._call("test_outputs", info, split, rows, outputs)

    def _call(self, event: str, info: StepInfo, *more: Any) -> None:
        for monitor, method in self._methods[event]:
            try:
                method(info, *more)
            except UserError as error:
                self._warn(monitor, info, f"{error}; training continues")
            except Exception as error:
                text = f"{type(error).__name__}: {' '.join(str(error).split())}"
                if not self._begun:
                    raise UserError(f"the monitor {self._names[monitor]} failed in {event}: {text}") from error
                self._leave_out(monitor)
                self._warn(monitor, info, f"{text} (in {event}); training continues without it")

    def _warn(self, monitor: Hook, info: StepInfo, text: str) -> None:
        if monitor not in self._warned:
            self._warned.add(monitor)
            info.note(f"the monitor {self._names[monitor]}: {text}")

    def _leave_out(self, failed: Hook) -> None:
        self._left_out.add(failed)
        self._methods = {
            event: [one for one in found if one[0] is not failed] for event, found in self._methods.items()
        }


def _taking_outputs(monitors: Sequence[Hook]) -> list[tuple[Hook, Callable[..., Any]]]:
    """Return the monitors that override ``test_outputs``, each with that method."""
    own = [monitor for monitor in monitors if isinstance(monitor, Monitor)]
    return [(one, one.test_outputs) for one in own if type(one).test_outputs is not Monitor.test_outputs]
