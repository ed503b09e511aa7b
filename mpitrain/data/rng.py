"""Random numbers by counter: the i-th number of a key, without drawing those before it.

A stateful generator would tie what a sample gets to the samples drawn before it, and so to how the work is
split. Here sample i of epoch e gets the same bits on any rank, in any batch, under any NumPy version.

Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (SplitMix64), OOPSLA 2014.
"""

import numpy as np
from numpy.typing import NDArray

GAMMA = np.uint64(0x9E3779B97F4A7C15)
ORDER, AUGMENT, SPLIT, VALIDATION = 1, 2, 3, 5  # the purpose of the bits: the second word of a key (4: fingerprint.py)

_MASK = (1 << 64) - 1


def random_bits(counters: np.ndarray, *key: int) -> NDArray[np.uint64]:
    """Return 64 random bits for each counter under ``key``.

    Parameters
    ----------
    counters : (N,) array of int
        Distinct counters give distinct bits: the mixing is a bijection.
    key : int
        Words such as seed, purpose and epoch.

    Returns
    -------
    (N,) array of uint64

    Examples
    --------
    >>> random_bits(np.arange(3), 0, ORDER)[1:] == random_bits(np.arange(1, 3), 0, ORDER)
    array([ True,  True])
    """
    state = np.zeros(1, np.uint64)
    for word in key:
        state = _mix(state + np.uint64(word & _MASK) + GAMMA)
    return _mix(counters.astype(np.uint64) * GAMMA + state)


def random_order(count: int, *key: int) -> NDArray[np.int64]:
    """Return a permutation of ``range(count)`` as (count,) int64: the counters sorted by their bits."""
    return np.argsort(random_bits(np.arange(count), *key))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
