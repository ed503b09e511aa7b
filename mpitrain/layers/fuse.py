"""Passes over memory that are saved by doing an activation where its input is written, and its gradient likewise."""

from itertools import pairwise

from .base import Layer
from .batchnorm2d import BatchNorm2d
from .gelu import GELU
from .linear import Linear
from .maxpool2d import MaxPool2d
from .relu import ReLU
from .residual import Residual
from .sequential import Sequential


def fuse_activations(model: Layer) -> None:
    """Let each layer that can do the activation after it do so; names, parameters and results stay what they are."""
    for layer in model.layers():
        if isinstance(layer, Sequential):
            for first, second in pairwise(layer):
                _fuse(first, second)
            layers = list(layer)
            for first, third in zip(layers, layers[2:], strict=False):
                if isinstance(first, Linear) and (first.relu or first.gelu) and isinstance(third, Linear):
                    third.below, first.done_above = (first,), True
        elif isinstance(layer, Residual) and isinstance(layer.activation, ReLU):
            layer.relu = layer.activation.done = True


def _fuse(first: Layer, second: Layer) -> None:
    if isinstance(first, BatchNorm2d | Linear | MaxPool2d) and isinstance(second, ReLU):
        first.relu = second.done = True
    elif isinstance(first, Linear) and isinstance(second, GELU):
        first.gelu, second.done = second.name, True
