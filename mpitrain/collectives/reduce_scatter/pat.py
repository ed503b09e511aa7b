"""PAT reduce-scatter (parallel aggregated trees): the PAT all-gather backwards.

Every chunk is summed up a binomial tree of which its owner is the root, near ranks first; the trees of all chunks
are the same but turned, and up to ``aggregate`` chunks travel together.

Cost, A the aggregate: lg P alpha + (P-1)/P n beta + (P-1)/P n gamma for A >= P/2, else about (lg A + P/A) alpha.
Source: Jeaugey 2025, "PAT: a new algorithm for all-gather and reduce-scatter operations at scale" (arXiv 2506.20252).
"""

from collections.abc import Iterator

from .. import all_gather
from ..algorithm import algorithm
from ..all_gather.pat import hops
from ..combinators import backwards
from ..step import Step


@algorithm(
    "reduce_scatter",
    rounds=lambda size, aggregate: len(hops(size, aggregate)),
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: (size - 1) / size,
)
def pat(rank: int, size: int, aggregate: int = 16) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from backwards(all_gather.pat(rank, size, aggregate), reduce=True)
