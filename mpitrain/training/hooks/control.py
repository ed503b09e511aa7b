"""Requests from outside the run, such as signals."""

from collections.abc import Callable

from ..control import ControlRequest
from .base import Hook, StepInfo


class ExternalControl(Hook):
    """Hook that passes external requests on to all ranks.

    Parameters
    ----------
    control : callable() -> ControlRequest
        Called in every step; all ranks carry out the requests of any rank after that step.
    """

    def __init__(self, control: Callable[[], ControlRequest]):
        self._control = control

    def step_begin(self, info: StepInfo) -> None:
        """Ask for requests."""
        info.run.requests.add(self._control())
