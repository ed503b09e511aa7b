"""Bytes of each kind of number in a training, and the speed of its matrix products."""

from typing import NamedTuple


class Precision(NamedTuple):
    """Bytes of numbers.

    Attributes
    ----------
    name : str
    products : str
        The speed of matrix products (``Machine.speeds``).
    weights, gradients, activations : int
        Bytes of a number.
    masters : int
        Bytes of the copy of each weight that the optimizer keeps; 0 for none. Its slots have 4 bytes.
    """

    name: str
    products: str
    weights: int = 4
    gradients: int = 4
    activations: int = 4
    masters: int = 0

    def slots(self, number: float) -> float:
        """Return the bytes that the optimizer keeps of each weight, with so many slots."""
        return self.masters + 4.0 * number


PRECISIONS = {
    "fp32": Precision("fp32", "fp32"),
    "tf32": Precision("tf32", "tf32"),
    "bf16": Precision("bf16", "bf16", 2, 4, 2, 4),
    "mixed": Precision("mixed", "bf16", 2, 2, 2, 4),
}
"""fp32, tf32 and bf16 as ``--precision``. tf32: factors of products are rounded, all else has 32 bits. bf16:
activations, their gradients and a copy of the weights have 16 bits, weights and their gradients 32 (Micikevicius et al.
2017, arXiv 1710.03740). mixed: gradients of weights have 16 bits, too, as in other programs, not in mpitrain."""
