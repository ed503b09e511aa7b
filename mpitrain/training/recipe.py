"""The optimizer and the learning rates of a config."""

from typing import Any

from .. import config
from ..arena import Arena
from ..optim import LARS, SGD, Adam, AdamW, Optimizer, Schedule, schedule


def make_optimizer(settings: config.Optimizer, arena: Arena) -> Optimizer:
    """Return the optimizer of ``settings`` for ``arena``."""
    decay = settings.weight_decay
    if settings.name == "sgd":
        return SGD(arena, momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=decay)
    if settings.name == "lars":
        return LARS(arena, momentum=settings.momentum, weight_decay=decay)
    return {"adam": Adam, "adamw": AdamW}[settings.name](arena, weight_decay=decay)


def make_schedule(settings: config.Optimizer, steps_per_epoch: int, epochs: int) -> Schedule:
    """Return the learning rate by step; epochs in ``settings`` become steps."""
    options: dict[str, Any] = {}
    if settings.schedule == "step":
        options = {"every": steps_per_epoch * settings.decay_every, "gamma": settings.decay_factor}
    return schedule(
        settings.schedule.replace("-", "_"),
        lr=settings.peak_lr,
        total_steps=steps_per_epoch * epochs,
        warmup_steps=round(steps_per_epoch * settings.warmup),
        **options,
    )
