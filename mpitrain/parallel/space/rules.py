"""Axis space: the rows of images over ranks, layer by layer, until a layer needs whole samples.

Between any two layers each rank has the rows ``share(height, rank, size)``, whatever the height there: also none, where
images have fewer rows than there are ranks. Behind a global pool, or a turn in front of the first layer that mixes all
pixels, it has its share of the samples.
"""

from typing import Any

from ...comm.group import Group
from ...data.sampler import share
from ...errors import UserError
from ...layers import Concat, DenseBlock, Flatten, Layer, Part, Recompute, Residual, Sequential, SkipConcat
from ..division import Division
from ..moves import Gather, Halo, Split
from ..moves.move import slices_of
from ..tensor.divided import Divided
from ..tensor.linear import ColumnLinear, RowLinear
from .geometry import Size
from .samples import ToSamples, WholeSamples
from .table import RULES, SAMPLES, After

ROW = (Sequential, Part, Divided, ColumnLinear, RowLinear)  # layers that run their children one after the other


def check(model: Layer, size: int, input_shape: tuple[int, ...]) -> None:
    """Raise a UserError if the rows of ``model`` cannot be divided among ``size`` ranks.

    Any number of ranks will do where rows can be divided at all, since some may have none.
    """
    if size == 1:
        return
    instead = f"--mesh data={size} divides the samples"
    if len(input_shape) != 3:
        raise UserError(
            f"--mesh space={size} divides the rows of images (height, width, channels), but the samples have the shape "
            f"{tuple(input_shape)}: {instead}"
        )
    if after(model, Size(*input_shape[:2])) is None:
        first = model
        while type(first) in ROW and (children := [child for _, child in first.children()]):
            first = children[0]
        raise UserError(
            f"--mesh space={size} divides the rows of images between convolutions and pools, but the first layer of "
            f"the model is a {first.kind}, which needs whole images: {instead}"
        )


def divide(model: Layer, group: Group, input_shape: tuple[int, ...]) -> Division:
    """Return this rank's part of a prepared model that has no memory yet.

    Raises
    ------
    UserError
        See ``check``.
    """
    if group.size == 1:
        return Division(model)
    check(model, group.size, input_shape)
    size = Size(*input_shape[:2])
    end = after(model, size)
    divided = _divided(model, group, size, first=True)
    if isinstance(end, Size):
        rows = slices_of(end.height, group.size)[group.rank]
        return Division(divided, lambda targets: targets[:, rows], Gather(group, 1, end.height))

    def targets(array: Any) -> Any:
        return array[share(len(array), group.rank, group.size)]

    return Division(divided, targets, WholeSamples(group))


def after(layer: Layer, size: Size) -> After:
    """Return the state behind a layer, given images of ``size`` in front of it; None if it does not work on rows."""
    rule = RULES.get(type(layer))
    if rule is not None:
        return rule.after(layer, size)
    if type(layer) in ROW:
        return _after_row(layer, size)
    if type(layer) is Recompute:
        return _only_rows(after(layer.layer, size))
    if type(layer) is Residual:
        return _after_residual(layer, size)
    if type(layer) is SkipConcat:
        return size if isinstance(after(layer.inner, size), Size) else None
    if type(layer) is Concat:
        found = [after(branch, size) for branch in layer.branches]
        return _only_rows(found[0]) if all(each == found[0] for each in found) else None
    if type(layer) is DenseBlock:
        return size if all(after(member, size) == size for member in layer.members) else None
    return size if getattr(type(layer), "per_pixel", False) else None


def _after_row(layer: Layer, size: Size) -> After:
    for number, (_, child) in enumerate(layer.children()):
        found = after(child, size)
        if not isinstance(found, Size):
            return None if found is None and number == 0 else SAMPLES
        size = found
    return size


def _after_residual(layer: Residual, size: Size) -> After:
    body = after(layer.body, size)
    shortcut = size if layer.shortcut is None else after(layer.shortcut, size)
    if not isinstance(body, Size) or body != shortcut:
        return None
    return body if layer.activation is None else _only_rows(after(layer.activation, body))


def _only_rows(found: After) -> After:
    """Return the size, or None where a turn to samples lies inside: then the samples are needed in front of it."""
    return found if isinstance(found, Size) else None


def _divided(layer: Layer, group: Group, size: Size, *, first: bool = False) -> Layer:
    """Return a layer that works on rows, for this rank; with ``first`` it takes whole images."""
    rule = RULES.get(type(layer))
    if type(layer) in ROW:
        _divide_row(layer, group, size, first=first)
        return layer
    if rule is not None:
        made = rule.divide(layer, group, size)
    else:
        made = _divide_branches(layer, group, size)
    steps = [Split(group, 1, size.height), made] if first else [made]
    return _like(layer, *steps)


def _divide_row(layer: Layer, group: Group, size: Size, *, first: bool) -> None:
    """Divide the children until one needs samples, and turn to samples in front of that one."""
    for name, child in list(layer.children()):
        found = after(child, size)
        if found is None:
            if type(child) is not Flatten:
                group.job.note(f"axis space divides rows up to layer {name} ({child.kind}), and samples from there on")
            layer.replace(name, _like(child, ToSamples(group, size.height), child))
            return
        made = _divided(child, group, size, first=first)
        first = False
        layer.replace(name, made)  # also one that has changed inside: the plan of its neighbors is made again
        if not isinstance(found, Size):
            return
        size = found


def _divide_branches(layer: Layer, group: Group, size: Size) -> Layer:
    if isinstance(layer, Recompute):
        layer.layer = _divided(layer.layer, group, size)
    elif isinstance(layer, Residual):
        _divide_residual(layer, group, size)
    elif isinstance(layer, SkipConcat):
        layer.inner = _at_height(layer.inner, group, size)
    elif isinstance(layer, Concat | DenseBlock):
        for name, child in list(layer.children()):
            layer.replace(name, _divided(child, group, size))
    return layer


def _divide_residual(layer: Residual, group: Group, size: Size) -> None:
    ends = after(layer.body, size)
    assert isinstance(ends, Size), "after() has found that it works on rows"
    layer.body = _divided(layer.body, group, size)
    if layer.shortcut is not None:
        layer.shortcut = _divided(layer.shortcut, group, size)
    if layer.activation is not None:
        layer.activation = _divided(layer.activation, group, ends)


def _at_height(inner: Layer, group: Group, size: Size) -> Layer:
    """Return ``inner`` for rows of images of ``size``, with its rows where those of these images are."""
    ends = after(inner, size)
    assert isinstance(ends, Size), "after() has found that it works on rows"
    made = _divided(inner, group, size)
    if ends.height == size.height:
        return made
    rows = [(part.start, part.stop) for part in slices_of(size.height, group.size)]
    return _like(inner, made, Halo(group, 1, ends.height, rows=rows))


def _like(layer: Layer, *steps: Layer) -> Layer:
    """Return the steps as one layer that needs dx where ``layer`` does."""
    made = steps[0] if len(steps) == 1 else Divided(*steps)
    if made is not layer:
        made.ask_dx(layer.needs_dx)
    return made
