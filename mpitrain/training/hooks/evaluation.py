"""Evaluation hook."""

from dataclasses import replace
from functools import partial

from ..display.tables import to_lists
from ..results import EpochResult
from ..scoring.evaluation import Evaluator
from .base import Hook, StepInfo


class Evaluation(Hook):
    """Hook that computes the scores of the validation and test samples, and passes them to all hooks.

    Parameters
    ----------
    evaluator : Evaluator
    """

    def __init__(self, evaluator: Evaluator):
        self.evaluator = evaluator

    def evaluate(self, info: StepInfo) -> None:
        """Evaluate, and add the results to those of the run."""
        run, here = info.run, info.run.position
        data = run.setup.dataset
        validation = self.evaluator.scores([data.validation], run.scoring) if data.validation is not None else {}
        test = self.evaluator.scores([data.test], run.scoring, [partial(call, info) for call in run.on_test_outputs])
        run.results.tables = to_lists(self.evaluator.tables)
        speed = here.samples / max(here.seconds, 1e-9)
        result = EpochResult(
            epoch=info.epoch,
            step=info.step,
            lr=info.lr,
            train=info.train,
            test=test,
            samples_per_second=speed,
            seconds=here.seconds,
            times=run.period_times,
            validation=validation,
        )
        run.results.add(result)
        run.announce("evaluate_end", replace(info, result=result))
