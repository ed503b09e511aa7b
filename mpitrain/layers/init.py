"""Initial values of parameters: callables of a random generator and a shape."""

import math

import numpy as np

from ..parameter import Initializer


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return zeros."""
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return ones."""
    return np.ones(shape)


def normal(std: float) -> Initializer:
    """Return N(0, std^2) draws (embeddings, transformers)."""
    return lambda rng, shape: std * rng.standard_normal(shape)


def he(fan_in: int) -> Initializer:
    """Return N(0, 2 / fan_in) draws: keeps the variance through ReLU (He et al. 2015, arXiv 1502.01852)."""
    return normal(math.sqrt(2 / max(1, fan_in)))


def lecun_uniform(fan_in: int) -> Initializer:
    """Return U(-1/sqrt(fan_in), 1/sqrt(fan_in)) draws (LeCun et al. 1998, "Efficient BackProp"; PyTorch's default)."""
    bound = 1 / math.sqrt(max(1, fan_in))
    return lambda rng, shape: rng.uniform(-bound, bound, shape)
