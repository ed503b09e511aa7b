"""Stages that keep less: results inside blocks, or of the whole stage, are computed again in backward."""

from collections.abc import Sequence

from ...layers import Layer, Part, Recompute, Unit
from .tables import Recomputed


def recomputed(units: Sequence[Unit], how: Recomputed = "off") -> Part | Recompute:
    """Return the model of the stage that consists of ``units``.

    Names, first values and results are those of ``Part(units)``, to the bit.

    Parameters
    ----------
    units : sequence of Unit
        Of a model that is prepared (``models.prepare``).
    how : Recomputed
        "blocks": a unit of several layers keeps its input, and the rest is computed again. "stage": so does the stage.
    """
    if how == "stage":
        part = Part(units)
        has_backward = part.needs_dx or part.trains
        return _again(part) if has_backward else part
    if how == "blocks":
        units = [unit._replace(layer=_again(unit.layer)) if is_block(unit.layer) else unit for unit in units]
    return Part(units)


def is_block(layer: Layer) -> bool:
    """Return whether a unit consists of several layers, and is not computed again already."""
    return not isinstance(layer, Recompute) and any(layer.children())


def _again(layer: Layer) -> Recompute:
    made = Recompute(layer)
    made.needs_dx = layer.needs_dx
    return made
