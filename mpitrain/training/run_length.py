"""The length of a run in steps, and the steps after which it is evaluated."""

import math
from dataclasses import dataclass

from ..config import Run
from ..run_rules import parse_evaluate_every


@dataclass(frozen=True)
class RunLength:
    """The length of a run and the places of its evaluations, in steps counted from 1.

    Attributes
    ----------
    total_steps : int
    steps_per_epoch : int
    evaluate_every : int
        Steps; after the last step there is an evaluation in any case.
    """

    total_steps: int
    steps_per_epoch: int
    evaluate_every: int

    @classmethod
    def of(cls, settings: Run, steps_per_epoch: int) -> "RunLength":
        """Return the length of the run of a config.

        >>> RunLength.of(Run(epochs=3, evaluate_every="2e"), 10)
        RunLength(total_steps=30, steps_per_epoch=10, evaluate_every=20)
        >>> RunLength.of(Run(steps=25), 10).last_epoch
        3
        """
        total = settings.steps or settings.epochs * steps_per_epoch
        return cls(total, steps_per_epoch, parse_evaluate_every(settings.evaluate_every).steps(steps_per_epoch))

    @property
    def last_epoch(self) -> int:
        """The epoch of the last step, counted from 1."""
        return math.ceil(self.total_steps / self.steps_per_epoch)

    def is_last(self, step: int) -> bool:
        """True if ``step`` is the last one."""
        return step >= self.total_steps

    def next_evaluation(self, step: int) -> int:
        """Return the first step after ``step`` that the run is evaluated after.

        >>> [RunLength(25, 10, 10).next_evaluation(step) for step in (0, 9, 10, 20)]
        [10, 10, 20, 25]
        """
        return min((step // self.evaluate_every + 1) * self.evaluate_every, self.total_steps)

    def evaluates_after(self, step: int) -> bool:
        """True if the run is evaluated after ``step``."""
        return step > 0 and (step % self.evaluate_every == 0 or step == self.total_steps)


def counts_steps(settings: Run) -> bool:
    """True if evaluations are labeled by steps, since their epochs are not distinct."""
    return settings.steps > 0 or not parse_evaluate_every(settings.evaluate_every).ends_epochs


def label_of(settings: Run, epoch: int, step: int) -> str:
    """Return the beginning of the line of an evaluation.

    >>> label_of(Run(epochs=10), 3, 69), label_of(Run(steps=1000), 3, 69)
    ('epoch  3/10', 'step    69/1,000')
    >>> label_of(Run(epochs=10, evaluate_every="50"), 3, 50)
    'epoch  3/10 step 50'
    """
    if settings.steps:
        total = f"{settings.steps:,}"
        return f"step {step:{len(total)},}/{total}"
    total = str(settings.epochs)
    label = f"epoch {epoch:{len(total)}}/{total}"
    return f"{label} step {step:,}" if counts_steps(settings) else label


def describe_length(settings: Run) -> str:
    """Return the requested length as text: ``10 epochs`` or ``1,000 steps``."""
    number, noun = (settings.steps, "step") if settings.steps else (settings.epochs, "epoch")
    return f"{number:,} {noun}{'s' * (number != 1)}"
