"""Requests from outside of the run: signals and the like."""

from collections.abc import Callable

from ..control import ControlRequest
from .base import Hook, StepInfo


class ExternalControl(Hook):
    """Passes requests on to all ranks.

    Parameters
    ----------
    control : callable() -> ControlRequest
        Called in every step; what any rank requests, all ranks do after that step.
    """

    def __init__(self, control: Callable[[], ControlRequest]):
        self._control = control

    def step_begin(self, info: StepInfo) -> None:
        """Ask for requests."""
        info.run.requests.add(self._control())
