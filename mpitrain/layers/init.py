"""Initial values of parameters: callables of a random generator and a shape."""

import math

import numpy as np

from ..parameter import Initializer, Shard

AT_ONCE = 1 << 16  # draws of a part
WORDS = 4  # of a step of Philox's counter


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


class UniformByCounter:
    """U(-bound, bound) draws, each by a counter of its own: a part of a table is drawn without the rest.

    Parameters
    ----------
    std : float
        Standard deviation: bound / sqrt(3).

    Notes
    -----
    Draw k of a tensor is word k of Philox 4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")
    under a key from the generator. Memory beside the part itself is for ``AT_ONCE`` draws.
    """

    def __init__(self, std: float):
        self.bound = std * math.sqrt(3)

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return the draws of a whole tensor."""
        whole = np.empty(shape)
        self.fill(rng, shape, None, whole)
        return whole

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...], shard: Shard | None, out: np.ndarray) -> None:
        """Write the draws of a part of a tensor of ``shape`` to ``out``, a contiguous array."""
        key, flat = rng.integers(1 << 63, size=2, dtype=np.uint64), out.reshape(-1)
        for first, place, length in shard.runs(shape, 0, out.size) if shard else [(0, 0, out.size)]:
            draws = np.random.Generator(np.random.Philox(key=key).advance(place // WORDS))
            draws.random(place % WORDS)
            for start in range(0, length, AT_ONCE):
                part = flat[first + start : first + min(start + AT_ONCE, length)]
                part[...] = self.bound * (2 * draws.random(len(part)) - 1)


class FirstRowZero:
    """Zeros for row 0 of a table, which stands for what no sample has, and other draws for the rest.

    Parameters
    ----------
    draws : UniformByCounter
    """

    def __init__(self, draws: UniformByCounter):
        self.draws = draws

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return the whole table."""
        whole = self.draws(rng, shape)
        whole[0] = 0
        return whole

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...], shard: Shard | None, out: np.ndarray) -> None:
        """Write a part of the table to ``out``."""
        self.draws.fill(rng, shape, shard, out)
        if len(out) and (shard is None or shard.dim or shard.ranges[0][0] == 0):  # ranges are in ascending order
            out[0] = 0
