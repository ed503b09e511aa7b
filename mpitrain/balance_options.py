"""The division of batches among the ranks as text (``--balance``)."""

import math

from .errors import UserError


def parse_balance(text: str) -> tuple[float, ...]:
    """Return the weights of the ranks' shares of a batch; none for ``auto``, ``dynamic`` and ``off``.

    Raises
    ------
    UserError
        In one sentence.

    >>> parse_balance("2:1:1"), parse_balance("auto")
    ((2.0, 1.0, 1.0), ())
    """
    if text in ("auto", "dynamic", "off"):
        return ()
    try:
        weights = tuple(map(float, text.split(":")))
    except ValueError:
        weights = ()
    if not weights or not all(0 < weight < math.inf for weight in weights):
        raise UserError(
            f"--balance is {text!r}, but must be auto, dynamic, off or a positive weight for each rank, as in 2:1:1"
        )
    return weights


def check_balance(text: str, num_ranks: int) -> None:
    """Raise a UserError if there are weights, but not one for each of the ranks that divide a batch."""
    weights = parse_balance(text)
    if weights and len(weights) != num_ranks:
        raise UserError(
            f"--balance {text} has {len(weights)} weight{'s' * (len(weights) > 1)}, but batches are divided among "
            f"{num_ranks} rank{'s' * (num_ranks > 1)}"
        )
