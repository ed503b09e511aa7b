"""Layers: one a file, each with an explicit forward and backward."""

from .avgpool2d import AvgPool2d
from .base import Layer
from .batchnorm2d import BatchNorm2d
from .conv2d import Conv2d
from .dropout import Dropout
from .embedding import Embedding
from .flatten import Flatten
from .fuse import fuse_activations
from .gelu import GELU
from .globalavgpool import GlobalAvgPool
from .layernorm import LayerNorm
from .linear import Linear
from .maxpool2d import MaxPool2d
from .multi_head_attention import MultiHeadAttention
from .relu import ReLU
from .residual import Residual
from .sequential import Sequential
from .sigmoid import Sigmoid
from .silu import SiLU
from .tanh import Tanh

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "MultiHeadAttention",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "fuse_activations",
]
