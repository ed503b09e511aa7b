"""Early stopping: end a run whose scores no longer improve (--early-stop)."""

from ...run_rules import EarlyStopRule
from ..early_stop import reason_to_stop
from ..scoring.scores import larger_is_better
from .base import Hook, StepInfo


class EarlyStop(Hook):
    """Hook that ends the run by its evaluations; all ranks follow rank 0.

    Parameters
    ----------
    rule : EarlyStopRule
    """

    def __init__(self, rule: EarlyStopRule):
        self._rule = rule

    def train_begin(self, info: StepInfo) -> None:
        """Decide by the evaluations before a resume."""
        self.evaluate_end(info)

    def evaluate_end(self, info: StepInfo) -> None:
        """Decide, after each evaluation."""
        run = info.run
        reason = reason_to_stop(self._rule, larger_is_better(self._rule.score, run.scoring), run.results.evaluations)
        run.finished = info.run.world.all_gather(reason)[0]
