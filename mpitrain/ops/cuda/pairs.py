"""Products of pairs of vectors on a GPU: one product of matrices for each sample, all in one launch."""

from typing import Any

from .. import pairs as ops
from .matmul import covers, multiply


@ops.pair_products.cuda
def pair_products(v: Any, p: Any) -> bool:
    """One launch."""
    if not covers(v, p):
        return False
    multiply(v, v, p, transpose_b=True)
    return True


@ops.pair_products_dv.cuda
def pair_products_dv(dp: Any, v: Any, dv: Any) -> bool:
    """One launch."""
    if not covers(dp, v, dv):
        return False
    multiply(dp, v, dv)
    return True
