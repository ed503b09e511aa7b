"""Somebody who is told how a measurement gets on: nobody, by default."""

from typing import Protocol


class Stages(Protocol):
    """Is told of each stage of what takes long, on every rank."""

    def begin(self, stage: str, steps: int) -> None:
        """Begin a stage of so many steps, which take about as long each."""

    def step(self) -> None:
        """One of them is done."""


class Silent:
    """Nobody."""

    def begin(self, stage: str, steps: int) -> None:
        """Do nothing."""

    def step(self) -> None:
        """Do nothing."""
