"""Explanations in words: where a measured step differs from its prediction, and what a fitted law says."""

from ..collectives.price.units import say_seconds
from ..plain_text import count
from .laws import Fit
from .measured import Measured
from .predict import Prediction

CLOSE = 0.1  # of a step: a prediction that misses by less needs no explanation
NOTABLE = 0.03
INPUT_SHARE = 0.05
FAR = 3.0  # times its price: no longer a matter of messages


def explain(measured: Measured, prediction: Prediction) -> str:
    """Return one sentence on a step and its prediction: the parts that explain most of the difference."""
    step, expected = measured.parts.total, prediction.parts.total
    said = []
    if measured.oversubscribed:
        said.append(f"they take turns on {count(measured.facts['machine_cores'], 'core')}")
    if abs(step - expected) <= CLOSE * expected:
        said.append(f"the step is as predicted, to {max(0.01, abs(step / expected - 1)):.0%}")
    else:
        said += _differences(measured, prediction) or ["small differences in all parts"]
    if prediction.reason:
        said.append(prediction.reason)
    if measured.parts.share("input") > INPUT_SHARE:
        said.append(f"{measured.parts.share('input'):.0%} of the step is a wait for input (see --prefetch)")
    return f"{count(measured.case.ranks, 'rank')}: {'; '.join(said)}"


def _differences(measured: Measured, prediction: Prediction) -> list[str]:
    """Return the parts that differ by a notable share of the step, the largest difference first."""
    step, found = prediction.parts.total, []
    for name, say in {"compute": _say_compute, "waiting": _say_waiting, "messages": _say_messages}.items():
        seen, expected = getattr(measured.parts, name), getattr(prediction.parts, name)
        if abs(seen - expected) > NOTABLE * step and not (name == "messages" and prediction.reason):
            found.append((abs(seen - expected), say(seen, expected)))
    return [text for _, text in sorted(found, reverse=True)]


def _say_compute(seen: float, expected: float) -> str:
    why = " (ranks share memory and caches, or other programs run)" if seen > expected else ""
    return f"computing takes {say_seconds(seen)}, and one rank alone predicts {say_seconds(expected)}{why}"


def _say_waiting(seen: float, expected: float) -> str:
    why = " (some ranks are slower than others: see slowest in the report of a run)" if seen > expected else ""
    return f"ranks wait for each other for {say_seconds(seen)} a step, predicted are {say_seconds(expected)}{why}"


def _say_messages(seen: float, expected: float) -> str:
    why = " (ranks may lose their cores to other programs while they exchange)" if seen > FAR * expected else ""
    return f"messages take {say_seconds(seen)}, and their price is {say_seconds(expected)}{why}"


def say_fit(fit: Fit) -> str:
    """Return the serial fraction with its standard error, and what follows from it."""
    name = f"{fit.law}'s law: serial fraction {fit.serial:.1%}"
    if not fit.holds:
        return f"{fit.law}'s law does not hold: more ranks are not faster, so nothing is extrapolated"
    if fit.error is None:
        return f"{name}, of unknown error (take more ranks or a larger --repeat)"
    text = f"{name} ± {fit.error:.1%}"
    if fit.serial <= 0:
        return f"{text}: the speed-up is that of as many ranks, or more"
    if fit.law == "Gustafson":
        return f"{text}: each further rank adds {1 - fit.serial:.0%} of the first"
    return f"{text}: at most {1 / fit.serial:.3g} times as fast on any number of ranks"
