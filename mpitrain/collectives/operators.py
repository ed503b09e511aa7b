"""Reduction operators: sum, max and min."""

import numpy as np

from ..errors import UserError

OPERATORS: dict[str, np.ufunc] = {"sum": np.add, "max": np.maximum, "min": np.minimum}


def check_operator(op: str) -> None:
    """Raise UserError if there is no operator ``op``."""
    if op not in OPERATORS:
        raise UserError(f"there is no operator {op!r}; there are {', '.join(OPERATORS)}")
