"""The optimizer and the learning rates of a config."""

from typing import Any

from .. import config
from ..arena import Arena
from ..layers import Linear
from ..optim import OPTIMIZERS, Optimizer, Schedule, schedule
from ..registry import short_name, take_option

FLAGS = ("momentum", "nesterov", "weight_decay")  # options of optimizers that have a setting of their own


def make_optimizer(settings: config.Optimizer, arena: Arena) -> Optimizer:
    """Return the optimizer of ``settings`` for ``arena``.

    Settings that an optimizer has no option for are left out, and so are the defaults of settings for an optimizer of
    the user's own, which has its own ones.

    Raises
    ------
    UserError
        For an unknown name or option, or a value out of range.
    """
    function, _, given = OPTIMIZERS.find(settings.name)
    known = [option.name for option in OPTIMIZERS.options(function)]
    built_in = short_name(settings.name) in config.DEFAULT_LR
    options: dict[str, Any] = {}
    for key in FLAGS:
        value, default = getattr(settings, key), getattr(config.Optimizer(), key)
        if key in known and key not in given and (built_in or value != default):
            options[key] = value
    return OPTIMIZERS.make(settings.name, arena, **options)


def make_schedule(settings: config.Optimizer, steps_per_epoch: int, total_steps: int) -> Schedule:
    """Return the learning rate by step; epochs in ``settings`` become steps.

    Raises
    ------
    UserError
        For an unknown name or option, or numbers that make no schedule.
    """
    options: dict[str, Any] = {}
    if short_name(settings.schedule) == "step":
        has = {key: take_option(settings.schedule, key)[1] is not None for key in ("every", "milestones", "gamma")}
        if not has["every"] and not has["milestones"]:
            options["every"] = steps_per_epoch * settings.decay_every
        if not has["gamma"]:
            options["gamma"] = settings.decay_factor
    return schedule(
        settings.schedule,
        lr=peak_lr(settings),
        total_steps=total_steps,
        warmup_steps=round(steps_per_epoch * settings.warmup),
        **options,
    )


def peak_lr(settings: config.Optimizer) -> float:
    """Return the learning rate that was given, or the default of the optimizer, which may be the user's own."""
    if settings.lr is not None or short_name(settings.name) in config.DEFAULT_LR:
        return settings.peak_lr
    return float(getattr(OPTIMIZERS.find(settings.name)[0], "default_lr", config.OTHER_LR))


def check_recipe(settings: config.Optimizer, steps_per_epoch: int, total_steps: int) -> None:
    """Raise a UserError for an optimizer or a schedule that cannot be made."""
    make_optimizer(settings, Arena(Linear(1, 1).named_parameters()))
    make_schedule(settings, steps_per_epoch, total_steps)
