"""What reducing means: sum, max, min, and Adasum's pairwise operator.

Adasum adds two gradients that are orthogonal and averages two that are parallel:

    adasum(a, b) = (1 - a.b / (2 a.a)) a + (1 - a.b / (2 b.b)) b

The dot products are those of whole vectors, so it rides only on schedules whose every reduction takes the whole
vector (tree, recursive_doubling, k_nomial, flat ...), and the result depends on which pairs are formed.

Source: Maleki et al. 2021, "Scaling distributed training with adaptive summation" (MLSys).
"""

from collections.abc import Callable

import numpy as np

from ..errors import UserError
from .algorithm import Algorithm
from .step import as_chunks

BLOCK = 1 << 16  # elements: dot products are taken in float64, block by block

Operator = Callable[..., object]
"""A ufunc, or operator(target, arrived), which combines both into ``target``."""


def adasum(target: np.ndarray, arrived: np.ndarray) -> None:
    """Combine two whole vectors (n,) of floats into ``target``.

    Examples
    --------
    >>> a, b = np.array([1.0, 0.0]), np.array([0.0, 2.0])
    >>> adasum(a, b)
    >>> a.tolist()
    [1.0, 2.0]
    >>> adasum(a, np.array([1.0, 2.0]))
    >>> a.tolist()
    [1.0, 2.0]
    """
    both, a, b = _dot(target, arrived), _dot(target, target), _dot(arrived, arrived)
    of_a = 1 - both / (2 * a) if a else 1.0
    of_b = 1 - both / (2 * b) if b else 1.0
    target *= target.dtype.type(of_a)
    target += target.dtype.type(of_b) * arrived


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    blocks = (slice(i, i + BLOCK) for i in range(0, a.size, BLOCK))
    return float(sum(np.dot(a[s].astype(np.float64), b[s].astype(np.float64)) for s in blocks))


OPERATORS: dict[str, Operator] = {"sum": np.add, "max": np.maximum, "min": np.minimum, "adasum": adasum}
"""The operators by name; those that are ufuncs take where the result goes as ``out``."""


def combine(op: str, target: np.ndarray, arrived: np.ndarray) -> None:
    """Combine ``arrived`` into ``target``."""
    operator = OPERATORS[op]
    if isinstance(operator, np.ufunc):
        operator(target, arrived, out=target)
    else:
        operator(target, arrived)


def is_elementwise(op: str) -> bool:
    """Return whether vectors can be combined part by part."""
    return isinstance(OPERATORS[op], np.ufunc)


def check_operator(op: str, algorithm: Algorithm, size: int) -> None:
    """Raise UserError if there is no such operator, or if it cannot ride on ``algorithm`` with ``size`` ranks."""
    if op not in OPERATORS:
        raise UserError(f"there is no operator {op!r}; there are {', '.join(OPERATORS)}")
    if op != "adasum":
        return
    whole = algorithm.num_chunks(size)
    for rank in range(size):
        for number, step in enumerate(algorithm(rank, size)):
            if step.reduce and len(as_chunks(step.recv)) != whole:
                raise UserError(
                    f"adasum needs reductions of the whole vector, but {algorithm.name} reduces a part of it (rank "
                    f"{rank}, round {number}); tree, recursive_doubling and k_nomial reduce whole vectors"
                )
