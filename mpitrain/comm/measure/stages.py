"""Progress of measurements."""

from typing import Protocol


class Stages(Protocol):
    """Protocol of progress reports: called at each stage of a measurement, on every rank."""

    def begin(self, stage: str, steps: int) -> None:
        """Begin a stage of ``steps`` steps of about the same duration."""

    def step(self) -> None:
        """Finish one step."""


class Silent:
    """Progress that is not reported."""

    def begin(self, stage: str, steps: int) -> None:
        """Do nothing."""

    def step(self) -> None:
        """Do nothing."""
