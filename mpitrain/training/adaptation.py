"""The parts of a model that a run trains: adapters beside frozen weights, and what --freeze leaves."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import config, models
from ..errors import UserError
from ..layers import Layer
from ..lora_options import LoRAOptions, parse_lora

if TYPE_CHECKING:
    from .pretrained.peft_read import FittedAdapters


def with_adapters(model: Layer, settings: config.Model) -> Layer:
    """Return ``model`` with the adapters of a run, for its weights."""
    options = parse_lora(settings.lora)
    return model if options is None else models.add_lora(model, options)


def adapt(
    model: Layer, settings: config.Model, fitted: "FittedAdapters | None" = None, new: Iterable[str] = ()
) -> LoRAOptions | None:
    """Give ``model`` its adapters, and freeze what is not trained; return the options of the adapters.

    Parameters
    ----------
    fitted : FittedAdapters, optional
        Those to begin with.
    new : iterable of str
        Tensors that the weights to begin with lack: they are trained besides the adapters.

    Raises
    ------
    UserError
        If a pattern matches nothing, or nothing is left to train.
    """
    options = parse_lora(settings.lora) if fitted is None else fitted.options
    if options is not None:
        options = replace(options, train=tuple(dict.fromkeys((*options.train, *new))))
        models.add_lora(model, options)
    if settings.freeze:
        models.freeze(model, settings.freeze)
    return options


def own_adapters(settings: config.Model, source: str, lora: str) -> config.Model:
    """Return the settings of a run that begins with weights of ours that have adapters.

    Raises
    ------
    UserError
        If the settings name others.
    """
    given, there = parse_lora(settings.lora), parse_lora(lora)
    if there is None:
        return settings
    if given is not None and (given.rank, given.alpha, given.on) != (there.rank, there.alpha, there.on):
        raise UserError(f"{source} has adapters of {lora}: --lora {settings.lora} cannot take them (leave it out)")
    return replace(settings, lora=settings.lora or lora)
