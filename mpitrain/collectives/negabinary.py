"""Peers and labels of Swing and of Bine trees, from numbers in base -2.

In round k, the peer of an even rank is at distance d(k) = (1 - (-2)^(k+1)) / 3 = 1, -1, 3, -5, 11, ... to its right,
that of an odd rank to its left. These distances grow by less than two thirds of a doubling in sum: that is what
keeps messages near. The label of a rank says where it stands in this butterfly as the bits of a rank do in the
ordinary one: ranks whose labels agree in the bits below k are those that rounds k, k+1, ... connect.
"""


def peer(rank: int, k: int, size: int) -> int:
    """Return the peer of ``rank`` in round ``k``; ``size`` is a power of two."""
    distance: int = (1 - (-2) ** (k + 1)) // 3
    return (rank + distance if rank % 2 == 0 else rank - distance) % size


def label(rank: int, size: int) -> int:
    """Return the label of ``rank``: the Gray code of r (of -r for even ranks) in base -2."""
    bits = size.bit_length() - 1
    smallest = -sum(1 << k for k in range(1, bits, 2))  # the numbers of so many digits are `size` neighbors
    number = smallest + ((rank if rank % 2 else -rank) - smallest) % size
    mask = sum(1 << k for k in range(1, bits + 2, 2))
    digits = (number + mask) ^ mask
    return digits ^ (digits >> 1)
