"""Matrix factorization (Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems")."""

from ..errors import UserError
from ..layers import DotProduct, FirstColumn, Linear, Sequential, init
from .users_and_items import check_positive, takes_pairs, vectors_of, vectors_of_pairs

STD = 0.1
"""Standard deviation of the initial values of vectors (as in Surprise, scikit-surprise 1.1)."""


def mf(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    factors: int = 16,
    l2: float = 0.0,
    categories: tuple[int, ...] = (),
) -> Sequential:
    """Matrix factorization: the dot product of the vectors of user and item, with a bias of each and one of all.

    A user with the next item as a class gets the products with all items, whose vectors are the weights of a Linear.

    Parameters
    ----------
    factors : int
        Size of the vectors.
    l2 : float
        Penalty of the squared vectors and biases of a pair, beside its squared error (Koren's lambda, for targets of
        deviation 1): the more ratings, the larger. --weight-decay shrinks all alike.
    categories : tuple of int
        Number of codes of users and of items; those of the data by default.

    Notes
    -----
    The mean of all ratings is in the normalization of the targets.
    """
    check_positive("mf", factors=factors)
    if not 0 <= l2 < float("inf"):
        raise UserError(f"l2 of mf must be 0 or more, but it is {l2}")
    if takes_pairs("mf", num_outputs, categories):
        vectors = vectors_of_pairs(categories, factors + 1, STD)  # the bias is the last number of each
        return Sequential(vectors, DotProduct(factors, num_outputs=num_outputs, l2=l2))
    if l2:
        raise UserError("l2= of mf is for pairs of user and item; where items are classes take --weight-decay")
    items = Linear(factors, num_outputs)
    items.weight.init = init.normal(STD)
    if items.bias is not None:
        items.bias.init = init.zeros
    return Sequential(FirstColumn(), vectors_of(categories[0], factors, STD), items)
