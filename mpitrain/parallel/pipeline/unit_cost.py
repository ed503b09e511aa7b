"""Costs of the units of a model, from which it is cut into stages."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class UnitCost:
    """Costs of one unit (``Sequential.units``) for one microbatch.

    Attributes
    ----------
    name : str
        Its name in the model.
    output_shape : tuple of int
        For one sample.
    forward, dx, dw : float
        Seconds of forward, of backward without what can be put off (``Context.later``), and of what is put off.
    output_bytes, kept_bytes, backward_bytes : int
        Memory of the output, of all that forward keeps for backward (a new output included), and of backward.
    in_turn_bytes : int
        Memory that the units of a stage use one after the other (``device/loans.py``), in forward and in backward.
    num_parameters, num_frozen : int
        Numbers of its parameters, and how many of these are not trained.
    is_block : bool
        True if it consists of several layers.
    apart : UnitCost or None
        Its costs where a cut parts it from the unit before, with which it is fused otherwise.
    """

    name: str
    output_shape: tuple[int, ...] = ()
    forward: float = 0.0
    dx: float = 0.0
    dw: float = 0.0
    output_bytes: int = 0
    kept_bytes: int = 0
    backward_bytes: int = 0
    in_turn_bytes: int = 0
    num_parameters: int = 0
    num_frozen: int = 0
    is_block: bool = False
    apart: "UnitCost | None" = None

    @property
    def seconds(self) -> float:
        """Time of forward and of all of backward."""
        return math.fsum((self.forward, self.dx, self.dw))
