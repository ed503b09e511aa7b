"""Passes over memory that are saved by doing a ReLU where its input is written, and its gradient likewise."""

from itertools import pairwise

from .base import Layer
from .batchnorm2d import BatchNorm2d
from .linear import Linear
from .relu import ReLU
from .residual import Residual
from .sequential import Sequential


def fuse_relu(model: Layer) -> None:
    """Let each layer that can do the ReLU after it do so; names, parameters and results stay what they are."""
    for layer in model.layers():
        if isinstance(layer, Sequential):
            for first, second in pairwise(layer):
                if isinstance(first, BatchNorm2d | Linear) and isinstance(second, ReLU):
                    first.relu = second.done = True
            layers = list(layer)
            for first, third in zip(layers, layers[2:], strict=False):
                if isinstance(first, Linear) and first.relu and isinstance(third, Linear):
                    third.below, first.done_above = (first,), True
        elif isinstance(layer, Residual) and isinstance(layer.activation, ReLU):
            layer.relu = layer.activation.done = True
