"""Kinds of spans in a trace, in the words of its readers: product, convolution, message, waiting, input and so on."""

from typing import Final

STEP, TASK, MESSAGE = "step", "task", "message"
"""Spans beside what a rank does at that time: a whole step, a task of a pipeline, a message on its way."""
WAITING, INPUT, UPDATE, OUTSIDE, REST = "waiting", "input", "update", "outside of steps", "rest"
LAYERS: Final = {
    "Conv": "convolution",
    "Attention": "attention",
    "Embedding": "embedding",
    "Norm": "normalization",
    "Pool": "pooling",
    "Linear": "product",
    "Head": "product",
    "Adapter": "product",
    "LU": "activation",
    "Tanh": "activation",
    "Sigmoid": "activation",
}
"""Kinds of layers by a part of the names of their classes; the first that is found counts."""


def kind_of_layer(name: str) -> str:
    """Return the kind of a layer by the name of its class, or the names of the layers that a fused one stands for.

    >>> kind_of_layer("Conv2d"), kind_of_layer("Linear+ReLU"), kind_of_layer("MaxPool2d+ReLU"), kind_of_layer("Mine")
    ('convolution', 'product', 'pooling', 'layer')
    """
    return next((kind for part, kind in LAYERS.items() if part in name), "layer")
