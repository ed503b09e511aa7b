"""Samples of recommenders: pairs of user and item, or a user with the latest items, whose next one is a class."""

from ..errors import UserError
from ..layers import ColumnEmbeddings, Embedding
from ..layers.init import FirstRowZero, UniformByCounter


def takes_pairs(model: str, num_outputs: int, categories: tuple[int, ...]) -> bool:
    """Return whether samples are pairs (user, item) with a rating or a click, not users whose next item is a class.

    Parameters
    ----------
    categories : tuple of int
        Number of codes of each column: users; then items of one number of codes, which are the classes.

    Raises
    ------
    UserError
        If they are neither.
    """
    items = set(categories[1:])
    if categories and 0 not in categories and num_outputs > 2 and items <= {num_outputs}:
        return False
    if len(categories) == 2 and 0 not in categories and num_outputs in (1, 2):
        return True
    raise UserError(f"the model {model} takes users and items, as of the source ratings:FILE")


def vectors_of(num_codes: int, size: int, std: float) -> Embedding:
    """Return vectors of users or items; that of code 0, which is none of the training samples, begins as 0.

    It then stays 0, so that someone who is new gets the biases alone.
    """
    return Embedding(num_codes, size, init=FirstRowZero(UniformByCounter(std)))


def vectors_of_pairs(categories: tuple[int, ...], size: int, std: float) -> ColumnEmbeddings:
    """Return the vectors of users and of items, side by side, likewise."""
    made = ColumnEmbeddings(categories, size)
    made.tables = [vectors_of(num_codes, size, std) for num_codes in categories]
    return made


def check_positive(model: str, **sizes: int) -> None:
    """Raise a UserError if a size is less than 1."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"the {name} of {model} must be at least 1, but it is {size}")
