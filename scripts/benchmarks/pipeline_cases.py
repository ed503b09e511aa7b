"""Networks of scripts/bench pipeline."""

from typing import NamedTuple

import numpy as np
from cases import HEAD, NUM_CLASSES

from mpitrain import models
from mpitrain.layers import GELU, Flatten, LayerNorm, Linear, MultiHeadAttention, Residual, Sequential

RATE = 1e-8  # learning rate: the samples are the same in all steps, and a model that knows them computes with denormals
LEAST_LOSS = 0.5  # for each sample, below which times are refused
SLEEPING = ("gpipe", "1f1b", "interleaved:chunks=2", "zb_h1", "greedy:memory=1")
WORKING = ("1f1b", "gpipe")  # also beside PyTorch
OVERHEAD = ("1f1b", "zb_h1", "interleaved:chunks=2")
MESSAGES = ("1f1b", "interleaved:chunks=2", "greedy:memory=1")


class Case(NamedTuple):
    """A network, the shape of a sample, the samples of a microbatch, and the microbatches of a step.

    ``size``: blocks of each of the three parts of a residual network, blocks of a transformer.
    """

    name: str
    size: int
    shape: tuple[int, ...]
    samples: int
    microbatches: int

    def make(self) -> Sequential:
        """Return the network, prepared."""
        if self.name.startswith("resnet"):
            return models.build(self.name, self.shape, NUM_CLASSES)
        return models.prepare(_transformer(self.size, *self.shape))

    def samples_of_a_step(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x (n, ...) and y (n,)."""
        rng, n = np.random.default_rng(0), self.samples * self.microbatches
        return rng.standard_normal((n, *self.shape), np.float32), rng.integers(0, NUM_CLASSES, n)


def _transformer(blocks: int, length: int, width: int) -> Sequential:
    def mlp() -> Sequential:
        return Sequential(LayerNorm(width), Linear(width, 4 * width), GELU(), Linear(4 * width, width))

    def attention() -> Sequential:
        return Sequential(LayerNorm(width), MultiHeadAttention(width, width // HEAD, causal=True))

    layers = [Residual(make()) for _ in range(blocks) for make in (attention, mlp)]
    return Sequential(*layers, LayerNorm(width), Flatten(), Linear(length * width, NUM_CLASSES))


CASES = {case.name: case for case in (Case("resnet20", 3, (32, 32, 3), 8, 8), Case("transformer", 8, (128, 256), 2, 8))}
SMALL = {case.name: case for case in (Case("resnet8", 1, (8, 8, 3), 1, 4), Case("transformer", 2, (4, 32), 1, 4))}
