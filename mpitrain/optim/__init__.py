"""Optimizers over the arena, gradient clipping and learning-rate schedules."""

from ..arena import Arena
from ..ops.reduce import sum_of_squares
from ..registry import Registry
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .base import BLOCK, ArenaShard, Optimizer
from .clip import QueuedNorm, clip_factor, global_norm
from .lars import LARS
from .queued_update import QueuedUpdate
from .schedules import SCHEDULES, Schedule, schedule
from .sgd import SGD

__all__ = [
    "BLOCK",
    "LARS",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ArenaShard",
    "Optimizer",
    "QueuedNorm",
    "QueuedUpdate",
    "Schedule",
    "build",
    "clip_factor",
    "global_norm",
    "schedule",
    "sum_of_squares",
]

OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    {"sgd": SGD, "adam": Adam, "adamw": AdamW, "lars": LARS, "adagrad": Adagrad},
    arguments=("arena",),
    result=Optimizer,
)


def build(text: str, arena: Arena, **options: object) -> Optimizer:
    """Return the optimizer that ``text`` selects, for ``arena``.

    Parameters
    ----------
    text : str
        ``NAME``, ``NAME:key=value,key=value`` or ``FILE.py:CLASS`` (see ``registry``).
    **options
        Options of the optimizer, which those of ``text`` override.

    Raises
    ------
    UserError
        For an unknown name or option, or a value out of range.
    """
    return OPTIMIZERS.make(text, arena, **options)
