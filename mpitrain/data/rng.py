"""Random numbers by counter: the i-th number of a key, without drawing those before it.

A stateful generator would tie what a sample gets to the samples drawn before it, and so to how the work is
split. Here sample i of epoch e gets the same bits on any rank, in any batch, under any NumPy version.

Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (SplitMix64), OOPSLA 2014.
"""

import numpy as np
from numpy.typing import NDArray

GAMMA = np.uint64(0x9E3779B97F4A7C15)
# the purpose of the bits: the second word of a key
ORDER, AUGMENT, SPLIT, BLOCKS, VALIDATION, WINDOWS, BATCHES, SAMPLING, MASKS, SHAPES, MIXING = range(1, 12)
CLICKS, NEGATIVES = 21, 22

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


class RandomOrder:
    """A permutation of ``range(count)`` of which any part is computed alone, in memory for that part only.

    A Feistel network of four rounds permutes the numbers below the next power of four (Luby and Rackoff 1988); what
    falls outside of the range goes through it again until it falls inside (cycle walking: Black and Rogaway 2002).

    Parameters
    ----------
    count : int
    key : int
        Words such as seed, purpose and epoch.

    Examples
    --------
    >>> order = RandomOrder(10, 0, ORDER, 1)
    >>> sorted(order[0:10].tolist()) == list(range(10)), bool((order[3:5] == order[0:10][3:5]).all())
    (True, True)
    """

    _ROUNDS, _BLOCK = 4, 4096

    def __init__(self, count: int, *key: int):
        self._count, self._key = count, key
        self._bits = np.uint64(max(1, -(-max(count - 1, 1).bit_length() // 2)))  # of each half
        self._low = (np.uint64(1) << self._bits) - np.uint64(1)
        self._kept = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        """Return the part of the permutation as (n,) int64; parts have step 1."""
        start, stop, _ = part.indices(self._count)
        first = start // self._BLOCK
        blocks = [self._block(number) for number in range(first, -(-max(stop, start) // self._BLOCK))]
        found = np.concatenate([np.empty(0, np.int64), *blocks])
        return found[start - first * self._BLOCK : max(stop, start) - first * self._BLOCK]

    def _block(self, number: int) -> NDArray[np.int64]:
        """Return a block, the last of which is kept: few numbers take as long as a thousand."""
        if number != self._kept[0]:
            first = number * self._BLOCK
            found = self._permute(np.arange(first, min(first + self._BLOCK, self._count)).astype(np.uint64))
            while (outside := np.flatnonzero(found >= self._count)).size:
                found[outside] = self._permute(found[outside])
            self._kept = number, found.astype(np.int64)
        return self._kept[1]

    def _permute(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = numbers >> self._bits, numbers & self._low
        for number in range(self._ROUNDS):
            left, right = right, left ^ (random_bits(right, *self._key, number) & self._low)
        return (left << self._bits) | right
