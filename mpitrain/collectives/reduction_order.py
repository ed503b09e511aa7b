"""Reduction order of an algorithm: test for the balanced tree, the same for every number of ranks.

Floating-point sums depend on their order. All powers of two share one order, the balanced binary tree over the ranks
in ascending order, ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)): a rank's part may be such a tree itself, and two ranks
with half the parts give the same bits as one.
"""

import numpy as np

from .algorithm import Algorithm
from .simulate import simulate

MOST_RANKS = 32  # the schedules are regular: a property up to this number holds beyond it


class Term:
    """A sum over the ranks ``first`` to ``first + count - 1`` in a balanced tree; count 0 for any other sum."""

    def __init__(self, first: int, count: int = 1):
        self.first, self.count = first, count

    def __add__(self, other: "Term") -> "Term":
        first, both = min(self.first, other.first), self.count + other.count
        neighbors = 0 < self.count == other.count == abs(self.first - other.first) and first % both == 0
        return Term(first, both) if neighbors else Term(0, 0)


def adds_in_a_tree(algorithm: Algorithm, size: int) -> bool:
    """Return whether each element is summed over ``size`` ranks, a power of two, in the balanced tree.

    Examples
    --------
    >>> from mpitrain.collectives import find
    >>> [name for name in ("ring", "tree", "flat", "recursive_doubling") if adds_in_a_tree(find(name), 8)]
    ['tree', 'recursive_doubling']
    """
    size = min(size, MOST_RANKS)
    length = algorithm.num_chunks(size)
    inputs = [np.array([Term(rank) for _ in range(length)], object) for rank in range(size)]
    terms = [term for result in simulate(algorithm, inputs) for term in result]
    return all((term.first, term.count) == (0, size) for term in terms)
