"""Comparison of a checkpoint with a model, and the way of its tensors into an arena."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...arena import Arena
from ...errors import UserError
from .architecture import Architecture
from .rules import Rule
from .tensors import Tensors

SHOWN = 8  # names of a kind in an error


@dataclass(frozen=True)
class Match:
    """The tensors of a checkpoint that a model takes.

    Attributes
    ----------
    names : dict of str to sequence of str
        Those that each of our tensors is made of; tensors that keep their first values are not there.
    notes : sequence of str
        What was drawn new, and what was left out.
    new : sequence of str
        Ours that are drawn new.
    """

    tensors: Tensors
    rules: Sequence[Rule]
    names: dict[str, list[str]]
    notes: Sequence[str] = field(default=())
    new: Sequence[str] = field(default=())

    def load(self, arena: Arena) -> None:
        """Fill the tensors of the model that ``arena`` holds."""
        held = arena.named_tensors()
        for rule in self.rules:
            if rule.name in held and rule.name in self.names:
                arena.put(rule.name, rule.read([self.tensors.read(name) for name in self.names[rule.name]]))


def match(source: str, tensors: Tensors, rules: Sequence[Rule], kind: Architecture) -> Match:
    """Find the tensors of a checkpoint for each of ours.

    Raises
    ------
    UserError
        Which lists the tensors that are missing, of another shape, or unknown.
    """
    missing, other, new, names = [], [], [], dict[str, list[str]]()
    used: set[str] = set()
    for rule in rules:
        wanted = {_find(name, tensors, kind): shape for name, shape in rule.shapes().items()}
        absent = [name for name in wanted if name not in tensors.shapes]
        odd = [name for name in wanted if name not in absent and tensors.shapes[name] != wanted[name]]
        used |= {*wanted} - {*absent}
        if rule.is_head and (absent or odd):
            new.append(rule.name)
            continue
        missing += absent
        other += [f"{name} is {tensors.shapes[name]} and not {wanted[name]}" for name in odd]
        names[rule.name] = list(wanted)
    rest = [name for name in tensors.shapes if name not in used and not re.fullmatch(kind.buffers, name)]
    unknown = [name for name in rest if not re.fullmatch(kind.heads, name)]
    faults = [
        *([f"it lacks {_some(missing)}"] if missing else []),
        *([f"{_some(other)}"] if other else []),
        *([f"the model has no {_some(unknown)}"] if unknown else []),
    ]
    if faults:
        raise UserError(f"{source} does not hold this model: {'; '.join(faults)}")
    unused = [name for name in rest if name not in unknown]
    notes = [
        *([f"{source} has no head for this task: {_some(new)} begin with new values"] if new else []),
        *([f"not used of {source}: {_some(unused)}"] if unused else []),
    ]
    return Match(tensors, rules, names, tuple(notes), tuple(new))


def _find(name: str, tensors: Tensors, kind: Architecture) -> str:
    """Return the name as it is in the file, which may be without its beginning."""
    short = name.removeprefix(kind.base)
    return short if name not in tensors.shapes and short in tensors.shapes else name


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
