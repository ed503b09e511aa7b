"""Rules of a run as text: the interval of evaluations, the condition to stop early, and what goes with --sync."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UserError
from .option_values import split_options

EVERY_STEP = "every_step"
"""The value of --sync with which gradients are summed over the ranks in every step."""


@dataclass(frozen=True)
class Interval:
    """A number of steps, or of epochs."""

    number: float
    in_epochs: bool

    def steps(self, steps_per_epoch: int) -> int:
        """Return the interval in steps, 1 at least."""
        return max(1, round(self.number * steps_per_epoch)) if self.in_epochs else int(self.number)

    @property
    def ends_epochs(self) -> bool:
        """True for a whole number of epochs."""
        return self.in_epochs and self.number == int(self.number)


def parse_evaluate_every(text: str) -> Interval:
    """Return the interval between two evaluations.

    Raises
    ------
    UserError
        If ``text`` is neither a number of steps nor of epochs.

    >>> [parse_evaluate_every(text).steps(30) for text in ("200", "2e", "0.5e")]
    [200, 60, 15]
    """
    match = re.fullmatch(r"(\d+)|(\d*\.?\d+)e", text.strip())
    if not match or not 0 < float(match[1] or match[2]) < 1e9:
        raise UserError(f"--evaluate-every is {text!r}, but must be steps (200) or epochs (2e, 0.5e)")
    return Interval(float(match[1] or match[2]), match[2] is not None)


@dataclass(frozen=True)
class EarlyStopRule:
    """Early-stopping rule: the score to watch, and how long it may fail to improve.

    Attributes
    ----------
    score : str
        A name among the scores.
    patience : int
        Evaluations without a better score after which the run ends.
    min_delta : float
        Least improvement over the best score so far that counts as better.
    """

    score: str
    patience: int
    min_delta: float = 0.0


def parse_early_stop(text: str) -> EarlyStopRule | None:
    """Return the rule; None for the empty text.

    Raises
    ------
    UserError
        In one sentence.

    >>> parse_early_stop("loss:patience=5,min_delta=0.001")
    EarlyStopRule(score='loss', patience=5, min_delta=0.001)
    """
    if not text.strip():
        return None
    score, _, rest = text.strip().partition(":")
    given: dict[str, float] = {}
    for part in split_options(rest):
        key, _, value = part.partition("=")
        if key not in ("patience", "min_delta") or key in given:
            raise UserError(f"--early-stop takes SCORE:patience=N,min_delta=X, each once, not {part!r}")
        given[key] = _number(key, value)
    if "patience" not in given:
        raise UserError(f"--early-stop {text} lacks the patience, as in {score or 'loss'}:patience=5")
    return EarlyStopRule(score, int(given["patience"]), given.get("min_delta", 0.0))


def _number(key: str, text: str) -> float:
    wanted = "a whole number, 1 or more" if key == "patience" else "a number, 0 or more"
    try:
        value = float(int(text) if key == "patience" else float(text))
    except ValueError:
        value = -1.0
    if not (1 if key == "patience" else 0) <= value < 1e300:
        raise UserError(f"{key} in --early-stop is {text!r}, but must be {wanted}")
    return value


def check_sync(sync: str, others: Mapping[str, bool]) -> None:
    """Raise a UserError if ``sync``, the value of --sync, is given with one of the options that exclude it.

    Parameters
    ----------
    others : mapping of str to bool
        Whether each of these options is given.
    """
    given = [option for option, there in others.items() if there]
    if sync != EVERY_STEP and given:
        raise UserError(f"--sync {sync} does not go with {given[0]}, which needs sums of the gradients in every step")


def parse_fold(text: str) -> tuple[int, int]:
    """Return the number of a fold, from 1, and how many there are.

    Raises
    ------
    UserError
        For anything but K/N with K from 1 to N and N from 2 on.

    >>> parse_fold("2/5")
    (2, 5)
    """
    first, slash, second = text.partition("/")
    if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second) >= 2):
        raise UserError(f"--fold is {text!r}, but must be K/N, the K-th of N folds (2/5), with N from 2 on")
    return int(first), int(second)
