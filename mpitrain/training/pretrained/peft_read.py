"""Adapters in a folder of ``peft``, and their way into an arena."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...arena import Arena
from ...errors import UserError
from ...layers import Layer, Linear, Sequential
from ...lora_options import LoRAOptions, given_options
from ...models.adapt import places
from ...name_patterns import matches
from .architecture import Architecture
from .architectures import architecture_of
from .peft_layout import COMPUTED, CONFIG, PREFIX, WEIGHTS, Module, modules_of
from .rules import Rule, rules_of
from .tensors import Safetensors, Tensors

Pair = tuple[str, str]  # names of A and B


@dataclass(frozen=True)
class PeftAdapters:
    """Adapters of a folder; ``fit`` finds out what they are of."""

    source: str
    settings: dict[str, Any]
    tensors: Tensors

    @property
    def files(self) -> list[Path]:
        """The file of the adapters."""
        return self.tensors.files

    def fit(self, text: str, model: Layer, given: str) -> "FittedAdapters":
        """Return the adapters for ``model``, made from ``text``; ``given`` may add dropout and what is trained besides.

        Raises
        ------
        UserError
            If they are not of this model, or ``given`` says something else.
        """
        kind = architecture_of(text, model)
        assert isinstance(model, Sequential)
        found, saved = self._sort(kind, model)
        on, names = list[str](), dict[str, str]()
        linears = {place.name: place.layer for place in places(model)}
        several = {module.linear for module in modules_of(kind, model) if module.start}
        for module, theirs in found.items():
            layer = linears[module.linear]
            assert isinstance(layer, Linear)
            parts = {span: part for part, span in layer.spans().items()}
            part = parts[module.start, module.stop] if module.linear in several else ""
            on.append(f"{module.linear}.{part}" if part else module.linear)
            key = f"{module.linear}.lora_{part}" if part else f"{module.linear}.lora"
            names |= {f"{key}.a": theirs[0], f"{key}.b": theirs[1]}
        options = self._options(on, [rule.name for rule in saved], model, given)
        return FittedAdapters(self, options, names, saved)

    def _sort(self, kind: Architecture, model: Sequential) -> tuple[dict[Module, Pair], dict[Rule, list[str]]]:
        """Return the names of A and B of each module, and those of whole tensors by our rule."""
        left, found = dict(self.tensors.shapes), dict[Module, Pair]()
        for module in modules_of(kind, model):
            for name in (module.name, module.name.removeprefix(kind.base)):
                pair = f"{PREFIX}{name}.lora_A.weight", f"{PREFIX}{name}.lora_B.weight"
                if module not in found and all(one in left for one in pair):
                    self._check_shapes(pair, module, model)
                    found[module] = pair
                    del left[pair[0]], left[pair[1]]
        saved = dict[Rule, list[str]]()
        for rule in rules_of(kind.table(model), model):
            theirs = [PREFIX + part.name for part in rule.parts]
            if all(left.get(PREFIX + name) == shape for name, shape in rule.shapes().items()):
                saved[rule] = theirs
                for name in theirs:
                    del left[name]
        if left or not found:
            what = f"there is no place for {next(iter(left))}" if left else "it has no adapters"
            raise UserError(f"{self.source} does not fit this model: {what}")
        return found, saved

    def _check_shapes(self, pair: Pair, module: Module, model: Sequential) -> None:
        num_inputs, rank = dict(model.named_parameters())[f"{module.linear}.weight"].shape[0], self.settings["r"]
        for name, wanted in zip(pair, ((rank, num_inputs), (module.stop - module.start, rank)), strict=True):
            if (found := self.tensors.shapes[name]) != wanted:
                raise UserError(f"{self.source} does not fit this model: {name} is {found}, not {wanted}")

    def _options(self, on: list[str], train: list[str], model: Sequential, given: str) -> LoRAOptions:
        wanted = given_options(given)
        rank, alpha = self.settings["r"], float(self.settings["lora_alpha"])
        for key, value in (("rank", rank), ("alpha", alpha)):
            if wanted.get(key, value) != value:
                raise UserError(f"{self.source} has {key}={value:g}: --lora {given} cannot change that")
        if "on" in wanted:
            raise UserError(f"{self.source} says which layers have adapters: leave on= of --lora out")
        dropout = wanted.get("dropout", float(self.settings.get("lora_dropout", 0.0)))
        names = [place.name for place in places(model) if isinstance(place.layer, Linear)]
        parts = [f"{name}.{part}" for name in names for part in _spans(model, name)]
        return LoRAOptions(rank, alpha, dropout, _patterns(on, names + parts), (*train, *wanted.get("train", ())))


@dataclass(frozen=True)
class FittedAdapters:
    """Adapters for one model.

    Attributes
    ----------
    options : LoRAOptions
    names : dict of str to str
        Theirs by the names of ours, which are transposed.
    saved : dict of Rule to sequence of str
        Whole tensors that they have.
    """

    adapters: PeftAdapters
    options: LoRAOptions
    names: dict[str, str]
    saved: dict[Rule, list[str]]

    def load(self, arena: Arena) -> None:
        """Fill the adapters that ``arena`` holds, and what is saved with them."""
        held, read = arena.named_tensors(), self.adapters.tensors.read
        found = {ours: read(theirs).T for ours, theirs in self.names.items() if ours in held}
        found |= {
            rule.name: rule.read([read(name) for name in names])
            for rule, names in self.saved.items()
            if rule.name in held
        }
        for name, array in found.items():
            arena.put(name, array)


def open_adapters(source: str) -> PeftAdapters:
    """Return the adapters of ``peft:DIR``.

    Raises
    ------
    UserError
        If they are not there, or of a kind that ours do not compute.
    """
    kind, _, place = source.partition(":")
    if kind != "peft" or not place:
        raise UserError(f"--lora-weights is peft:DIR, a folder of adapters, not {source!r}")
    folder = Path(place).expanduser()
    try:
        settings = json.loads((folder / CONFIG).read_text())
    except OSError as error:
        raise UserError(f"cannot read {folder / CONFIG}: {error.strerror}") from None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{folder / CONFIG} is damaged: it is no JSON object")
    for key, value in COMPUTED.items():
        if (settings.get(key) or value) != value:
            raise UserError(f"{folder / CONFIG}: {key} is {settings[key]!r}, but our adapters compute {value!r} only")
    rank, alpha, dropout = (settings.get(key, 0.0) for key in ("r", "lora_alpha", "lora_dropout"))
    if type(rank) is not int or not all(type(one) in (int, float) for one in (alpha, dropout)) or rank < 1:
        raise UserError(f"{folder / CONFIG} is damaged: it does not say r, lora_alpha and lora_dropout")
    return PeftAdapters(source, settings, Safetensors(folder, WEIGHTS))


def _patterns(chosen: list[str], names: list[str]) -> tuple[str, ...]:
    """Return patterns that match the chosen names alone: without the number of a block, where all blocks have it."""
    short = dict.fromkeys("*." + name.partition(".")[2] for name in chosen if "." in name)
    matched = {name for name in names if any(matches(pattern, name) for pattern in short)}
    # a pattern of a whole Linear matches its parts, too
    whole = {name for name in matched if not any(name.startswith(f"{one}.") for one in chosen)}
    return tuple(short) if whole == set(chosen) else tuple(chosen)


def _spans(model: Sequential, name: str) -> Iterable[str]:
    layer = next(place.layer for place in places(model) if place.name == name)
    return layer.spans() if isinstance(layer, Linear) else ()
