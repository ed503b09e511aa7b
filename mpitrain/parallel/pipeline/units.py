"""Stages chosen by hand, and models that can be cut."""

from ...errors import UserError
from ...layers import Layer, Sequential, Unit
from ...plain_text import count

MAX_DIGITS = 9


def find_units(model: Layer) -> list[Unit]:
    """Return the units between which ``model`` can be cut.

    Raises
    ------
    UserError
        If it is no Sequential, has a forward of its own, or units share running statistics, of which each stage would
        see a part of the batches. (For shared parameters see ``tied``.)
    """
    if not isinstance(model, Sequential):
        raise UserError(f"the model is one unit, {model.kind}, and only a Sequential can be cut into stages")
    units = model.part(0, len(model.units())).units()
    owner: dict[int, Unit] = {}
    for unit in units:
        for name, state in unit.layer.named_states(f"{unit.name}."):
            other = owner.setdefault(id(state), unit)
            if other is not unit:
                raise UserError(
                    f"units {other.name} and {unit.name} share the running statistics {name}, so the model cannot be "
                    "cut into stages, each of which would have its own"
                )
    return units


def parse_stages(text: str, num_units: int, num_stages: int) -> list[int]:
    """Return the positions of the first unit of stages 1, 2, ..., as written by hand: "5,9".

    Raises
    ------
    UserError
        If the text is not that, or there are fewer units than stages.

    Examples
    --------
    >>> parse_stages("5,9", 12, 3)
    [5, 9]
    """
    check_number(num_units, num_stages)
    starts: list[int] = []
    for word in map(str.strip, text.split(",") if text.strip() else ()):
        if not word.isascii() or not word.isdigit() or len(word) > MAX_DIGITS:
            raise UserError(f"stages are given by their first units, as 5,9, but {word!r} is not the number of a unit")
        start = int(word)
        if not 0 < start < num_units:
            raise UserError(
                f"stages begin with one of the units 1 to {num_units - 1} of the model, but not with unit {start}"
                if num_units > 1
                else f"the model has one unit, so no stage begins with unit {start}"
            )
        if starts and start <= starts[-1]:
            raise UserError(f"first units of stages ascend, but {start} comes after {starts[-1]}")
        starts.append(start)
    if len(starts) != num_stages - 1:
        raise UserError(
            f"{count(num_stages, 'stage')}, of which stage 0 begins with unit 0, are given by "
            f"{count(num_stages - 1, 'first unit')}, but {text.strip()!r} has {len(starts)}"
        )
    return starts


def check_number(num_units: int, num_stages: int) -> None:
    """Raise UserError if there are fewer units than stages."""
    if num_units < num_stages:
        raise UserError(
            f"the model has {count(num_units, 'unit')}, which cannot be cut into {count(num_stages, 'stage')}"
        )
