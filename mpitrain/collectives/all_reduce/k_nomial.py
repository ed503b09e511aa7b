"""K-nomial tree all-reduce: flatter than the binomial tree, for networks where many small messages overlap.

The tree of the digits of a rank in base k: the parent has the lowest digit that is not 0 set to 0. With k = 2 it
is the binomial tree, with k = P the flat one.

Cost: at most 2(k-1) ceil(log_k P) rounds: 2(k-1) ceil(log_k P)(alpha + n beta) + (k-1) ceil(log_k P) n gamma.
Source: Wilkins et al. 2023, "Generalized collective algorithms for the exascale era" (CLUSTER).
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


def num_digits(size: int, radix: int) -> int:
    """Return how many digits the ranks have in base ``radix``."""
    digits = 0
    while radix**digits < size:
        digits += 1
    return digits


@algorithm(
    num_chunks=lambda size: 1,
    rounds=lambda size, radix: 2 * (_base(radix) - 1) * num_digits(size, _base(radix)),
    bytes=lambda size, radix: (_base(radix) - 1) * num_digits(size, _base(radix)),
    reductions=lambda size, radix: (_base(radix) - 1) * num_digits(size, _base(radix)),
)
def k_nomial(rank: int, size: int, radix: int = 4) -> Iterator[Step]:
    """Yield the steps of ``rank``: children in, parent out, then parent in, children out."""
    radix = _base(radix)
    children, parent = [], None
    for weight in (radix**k for k in range(num_digits(size, radix))):
        digit = rank // weight % radix
        if digit:
            parent = rank - digit * weight
            break
        children += [rank + d * weight for d in range(1, radix) if rank + d * weight < size]
    for child in children:
        yield Step(recv_from=child, recv=0, reduce=True)
    if parent is not None:
        yield Step(send_to=parent, send=0)
        yield Step(recv_from=parent, recv=0)
    for child in reversed(children):
        yield Step(send_to=child, send=0)


def _base(radix: int) -> int:
    return max(2, radix)
