"""Requests to a running training: by signals, by the clock, by hooks."""

from typing import NamedTuple


class ControlRequest(NamedTuple):
    """The requests of one rank; when any rank requests something, all ranks do it after the same step."""

    stop: bool = False
    """Stop, evaluate, write weights and the report (Ctrl-C)."""
    preempt: bool = False
    """Write a checkpoint and end at once, to be started again (SIGTERM, SIGUSR1, the end of the time)."""
    save: bool = False
    """Write a checkpoint and continue (SIGUSR2)."""


def no_request() -> ControlRequest:
    """Return a request for nothing."""
    return ControlRequest()


class PendingRequests:
    """The requests that this rank sends to the others with its next gradients.

    Attributes
    ----------
    stop, preempt, save : bool
        As in ``ControlRequest``.
    idle : bool
        False while this rank still writes a part of a checkpoint.
    """

    def __init__(self) -> None:
        self.stop = self.preempt = self.save = False
        self.idle = True

    def add(self, request: ControlRequest) -> None:
        """Request what ``request`` requests, too."""
        self.stop |= request.stop
        self.preempt |= request.preempt
        self.save |= request.save

    def take(self) -> tuple[bool, bool, bool, bool]:
        """Return (stop, preempt, save, idle), and forget them."""
        flags = self.stop, self.preempt, self.save, self.idle
        self.stop = self.preempt = self.save = False
        return flags
