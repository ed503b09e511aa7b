"""Learning-rate schedules: pure functions of the step, counted from 0."""

import inspect
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from ..errors import UserError

Schedule = Callable[[int], float]


def schedule(name: str, *, lr: float, total_steps: int, warmup_steps: int = 0, **options: object) -> Schedule:
    """Return the learning rate as a function of the step.

    Parameters
    ----------
    name : {"constant", "step", "cosine", "one_cycle"}
    lr : float
        The highest rate.
    total_steps, warmup_steps : int
        Step s < warmup_steps has (s + 1) / warmup_steps of the rate (Goyal et al. 2017, arXiv 1706.02677).
    **options
        See the function of that name.

    Raises
    ------
    UserError
        For an unknown name or option, and for numbers that make no schedule.

    >>> rate = schedule("cosine", lr=1.0, total_steps=12, warmup_steps=2)
    >>> [rate(0), rate(1), rate(2), round(rate(7), 6), round(rate(12), 6)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if name not in SCHEDULES:
        raise UserError(f"there is no schedule '{name}'; there are {', '.join(SCHEDULES)}")
    if not 0 <= warmup_steps <= total_steps:
        raise UserError(f"a warm-up of {warmup_steps} steps does not fit into {total_steps} steps")
    make = SCHEDULES[name]
    known = list(inspect.signature(make).parameters)[3:]
    for option in options:
        if option not in known:
            raise UserError(f"the schedule '{name}' has no option '{option}'; it has {', '.join(known) or 'none'}")
    return make(float(lr), total_steps, warmup_steps, **options)


def constant(lr: float, total_steps: int, warmup_steps: int) -> Schedule:
    """Return lr at every step."""
    return _warmed_up(lr, warmup_steps, lambda step: lr)


def step_decay(
    lr: float,
    total_steps: int,
    warmup_steps: int,
    milestones: Sequence[int] = (),
    every: int = 0,
    gamma: float = 0.1,
) -> Schedule:
    """Return lr gamma^k, where k counts the milestones reached, or how many times ``every`` steps have passed."""
    if bool(milestones) == bool(every):
        raise UserError("the schedule 'step' needs either milestones or every")
    if every:
        return _warmed_up(lr, warmup_steps, lambda step: lr * gamma ** (step // every))
    reached = sorted(milestones)
    return _warmed_up(lr, warmup_steps, lambda step: lr * gamma ** bisect_right(reached, step))


def cosine(lr: float, total_steps: int, warmup_steps: int, min_lr: float = 0.0) -> Schedule:
    """Return half a cosine from lr, after the warm-up, to min_lr (Loshchilov and Hutter 2017, arXiv 1608.03983)."""
    return _warmed_up(lr, warmup_steps, _half_cosine(lr, min_lr, warmup_steps, total_steps))


def one_cycle(
    lr: float, total_steps: int, warmup_steps: int, start_divisor: float = 25.0, end_divisor: float = 250_000.0
) -> Schedule:
    """Return a straight rise from lr / start_divisor, then half a cosine to lr / end_divisor.

    The rise takes ``warmup_steps``, or three tenths of all steps where that is 0
    (Smith and Topin 2018, arXiv 1708.07120; the numbers are those of fastai and PyTorch).
    """
    rise = warmup_steps or max(1, round(0.3 * total_steps))
    low = lr / start_divisor
    fall = _half_cosine(lr, lr / end_divisor, rise, total_steps)
    return lambda step: low + (lr - low) * step / rise if step < rise else fall(step)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "step": step_decay,
    "cosine": cosine,
    "one_cycle": one_cycle,
}


def _warmed_up(lr: float, warmup_steps: int, after: Schedule) -> Schedule:
    return lambda step: lr * (step + 1) / warmup_steps if step < warmup_steps else after(step)


def _half_cosine(high: float, low: float, first: int, last: int) -> Schedule:
    def rate(step: int) -> float:
        progress = min(1.0, (step - first) / max(1, last - first))
        return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2

    return rate
