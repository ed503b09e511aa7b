"""Learning-rate schedules: pure functions of the step, counted from 0.

A schedule is made by a function of (lr, total_steps, warmup_steps) and keyword options; a user's own is
``FILE.py:FUNC`` (see ``registry``).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from ..errors import UserError
from ..registry import Registry

Schedule = Callable[[int], float]


def schedule(text: str, *, lr: float, total_steps: int, warmup_steps: int = 0, **options: object) -> Schedule:
    """Return the learning rate as a function of the step.

    Parameters
    ----------
    text : str
        ``NAME``, ``NAME:key=value,key=value`` or ``FILE.py:FUNC``; names are constant, step, cosine and one_cycle.
    lr : float
        The highest rate.
    total_steps, warmup_steps : int
        Step s < warmup_steps has (s + 1) / warmup_steps of the rate (Goyal et al. 2017, arXiv 1706.02677).
    **options
        Options of the schedule, which those of ``text`` override.

    Raises
    ------
    UserError
        For an unknown name or option, and for numbers that make no schedule.

    >>> rate = schedule("cosine:min_lr=0.1", lr=1.0, total_steps=12, warmup_steps=2)
    >>> [rate(0), rate(1), rate(2), round(rate(7), 6), round(rate(12), 6)]
    [0.5, 1.0, 1.0, 0.55, 0.1]
    """
    if not 0 <= warmup_steps <= total_steps:
        raise UserError(f"a warm-up of {warmup_steps} steps does not fit into {total_steps} steps")
    return SCHEDULES.make(text, float(lr), total_steps, warmup_steps, **options)


def constant(lr: float, total_steps: int, warmup_steps: int) -> Schedule:
    """The same rate at every step."""
    return _warmed_up(lr, warmup_steps, lambda step: lr)


def step_decay(
    lr: float,
    total_steps: int,
    warmup_steps: int,
    milestones: Sequence[int] = (),
    every: int = 0,
    gamma: float = 0.1,
    min_lr: float = 0.0,
) -> Schedule:
    """A drop by ``gamma`` at each milestone, or after each ``every`` steps, down to ``min_lr``."""
    if bool(milestones) == bool(every):
        raise UserError("the schedule 'step' needs either milestones or every")
    if every < 0:
        raise UserError(f"the schedule 'step' needs a positive every, but it is {every}")
    if not 0 <= gamma < math.inf:
        raise UserError(f"the schedule 'step' needs a gamma of 0 or more, and finite, but it is {gamma}")
    _check_min_lr(lr, min_lr)
    if every:
        return _warmed_up(lr, warmup_steps, lambda step: max(min_lr, lr * gamma ** (step // every)))
    reached = sorted(milestones)
    return _warmed_up(lr, warmup_steps, lambda step: max(min_lr, lr * gamma ** bisect_right(reached, step)))


def cosine(lr: float, total_steps: int, warmup_steps: int, min_lr: float = 0.0) -> Schedule:
    """Half a cosine after the warm-up, down to ``min_lr`` (Loshchilov and Hutter 2017, arXiv 1608.03983)."""
    _check_min_lr(lr, min_lr)
    return _warmed_up(lr, warmup_steps, _half_cosine(lr, min_lr, warmup_steps, total_steps))


def one_cycle(
    lr: float,
    total_steps: int,
    warmup_steps: int,
    start_divisor: float = 25.0,
    end_divisor: float = 250_000.0,
    min_lr: float = 0.0,
) -> Schedule:
    """A straight rise from lr / start_divisor, then half a cosine to lr / end_divisor, or to a larger ``min_lr``.

    The rise takes ``warmup_steps``, or three tenths of all steps where that is 0
    (Smith and Topin 2018, arXiv 1708.07120; the numbers are those of fastai and PyTorch).
    """
    for name, divisor in (("start_divisor", start_divisor), ("end_divisor", end_divisor)):
        if not divisor > 0:
            raise UserError(f"the schedule 'one_cycle' needs {name} above 0, but it is {divisor}")
    _check_min_lr(lr, min_lr)
    rise = warmup_steps or max(1, round(0.3 * total_steps))
    low = max(min_lr, lr / start_divisor)
    fall = _half_cosine(lr, max(min_lr, lr / end_divisor), rise, total_steps)
    return lambda step: low + (lr - low) * step / rise if step < rise else fall(step)


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {"constant": constant, "step": step_decay, "cosine": cosine, "one_cycle": one_cycle},
    arguments=("lr", "total_steps", "warmup_steps"),
)


def _check_min_lr(lr: float, min_lr: float) -> None:
    if not 0 <= min_lr <= lr:
        raise UserError(f"the minimum learning rate must lie between 0 and the learning rate {lr}, but it is {min_lr}")


def _warmed_up(lr: float, warmup_steps: int, after: Schedule) -> Schedule:
    if not warmup_steps:
        return after
    return lambda step: lr * (step + 1) / warmup_steps if step < warmup_steps else after(step)


def _half_cosine(high: float, low: float, first: int, last: int) -> Schedule:
    def rate(step: int) -> float:
        progress = min(1.0, (step - first) / max(1, last - first))
        return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2

    return rate
