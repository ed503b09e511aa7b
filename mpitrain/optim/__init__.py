"""Optimizers over the arena, gradient clipping and learning-rate schedules."""

from ..ops.reduce import sum_of_squares
from .adam import Adam, AdamW
from .base import BLOCK, ArenaShard, Optimizer
from .clip import QueuedNorm, clip_factor, global_norm
from .lars import LARS
from .schedules import Schedule, schedule
from .sgd import SGD

__all__ = [
    "BLOCK",
    "LARS",
    "SGD",
    "Adam",
    "AdamW",
    "ArenaShard",
    "Optimizer",
    "QueuedNorm",
    "Schedule",
    "clip_factor",
    "global_norm",
    "schedule",
    "sum_of_squares",
]
