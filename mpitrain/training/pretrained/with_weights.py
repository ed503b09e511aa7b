"""Settings of a run that begins with weights: these say which model it is, and which tokenizer."""

import dataclasses

from ...config import Config
from ...data.sources import default_tokenizer
from ..adaptation import own_adapters


def with_weights(config: Config) -> Config:
    """Return ``config`` with the model, and for text the tokenizer, of the weights to begin with, if it names any.

    Raises
    ------
    UserError
        If the weights are not there, or of another model than the one given.
    """
    if not config.model.weights:
        return config
    from .checkpoint import OwnWeights
    from .source import merge_models, open_weights

    weights = open_weights(config.model.weights)
    name = merge_models(config.model.name, weights.text, weights.source)
    data = config.data
    if weights.tokenizer is not None:
        data = dataclasses.replace(data, source=default_tokenizer(data.source, str(weights.tokenizer)))
    model = dataclasses.replace(config.model, name=name)
    if isinstance(weights, OwnWeights):
        model = own_adapters(model, weights.source, weights.lora)
    return dataclasses.replace(config, data=data, model=model)
