"""Early stopping: a pure function of the evaluations so far, so that a resumed run decides as an uninterrupted one."""

import math
from collections.abc import Sequence

from ..run_rules import EarlyStopRule
from .results import EpochResult


def reason_to_stop(rule: EarlyStopRule, larger_is_better: bool, results: Sequence[EpochResult]) -> str:
    """Return the reason to end the run; empty to continue.

    A score that is NaN is never better, also where there is none before.
    """
    best, waited, when = -math.inf, 0, None
    for result in results:
        score = result.held_out.get(rule.score, math.nan)
        value = score if larger_is_better else -score
        if value > best + (rule.min_delta if math.isfinite(best) else 0.0):
            best, waited, when = value, 0, result
        else:
            waited += 1
        if waited >= rule.patience:
            return _sentence(rule, when)
    return ""


def _sentence(rule: EarlyStopRule, best: EpochResult | None) -> str:
    evaluations = f"{rule.patience} evaluation{'s' * (rule.patience > 1)}"
    if best is None:
        return f"{rule.score} was not a number in {evaluations}"
    by = f" by {rule.min_delta:g}" if rule.min_delta else ""
    was = f"{best.held_out[rule.score]:.4g} after step {best.step:,}"
    return f"{rule.score} has not become better{by} than {was} in {evaluations}"
