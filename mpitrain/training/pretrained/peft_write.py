"""Adapters of a model as a folder of ``peft``."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np
import safetensors.numpy

from ...errors import UserError
from ...json_text import to_json
from ...layers import Layer, LoRALinear, Sequential
from ...lora_options import LoRAOptions
from ...models.adapt import adapted
from ...name_patterns import matches
from .architecture import Architecture
from .architectures import architecture_of
from .folder import write_folder
from .peft_layout import COMPUTED, CONFIG, PREFIX, WEIGHTS, Module, modules_of
from .rules import rules_of

NEXT_TOKEN = ("gpt", "llama")


def export_adapters(
    folder: Path,
    text: str,
    model: Layer,
    tensors: Mapping[str, np.ndarray],
    options: LoRAOptions,
    *,
    base: str = "",
    force: bool = False,
) -> list[Path]:
    """Write the adapters of a model to ``folder``, which is made, and return the files.

    Parameters
    ----------
    text : str
        The model as in --model.
    model : Layer
        With adapters.
    tensors : mapping of str to array
        All its tensors by name.
    base : str
        The folder of the weights that the adapters belong to.
    force : bool
        Write over earlier adapters.

    Raises
    ------
    UserError
        If ``transformers`` has no such model, or no Linear for one of ours, or the files cannot be written.
    """
    kind = architecture_of(text, model)
    assert isinstance(model, Sequential)
    layers, modules = adapted(model), modules_of(kind, model)
    if odd := sorted(set(layers) - {module.linear for module in modules}):
        raise UserError(f"{odd[0]} has adapters and is no Linear in transformers: peft cannot read them")
    arrays, ranks = dict[str, np.ndarray](), dict[str, int]()
    for module in modules:
        pairs = list(_pairs(module, layers[module.linear], tensors)) if module.linear in layers else []
        if pairs:
            a, b = _joined(pairs, module.stop - module.start)
            arrays[f"{PREFIX}{module.name}.lora_A.weight"] = np.ascontiguousarray(a.T)
            arrays[f"{PREFIX}{module.name}.lora_B.weight"] = np.ascontiguousarray(b.T)
            ranks[module.name] = a.shape[1]
    saved = _saved(kind, model, tensors, options)
    names = _modules(part.name for rule in rules_of(kind.table(model), model) for part in rule.parts)
    rank = min(ranks.values())
    more = {name: number for name, number in ranks.items() if number != rank}
    settings = {
        **COMPUTED,
        "task_type": "CAUSAL_LM" if kind.model in NEXT_TOKEN else None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _whole(options.scale * rank),
        "lora_dropout": options.dropout,
        "fan_in_fan_out": kind.kind == "gpt2",  # whose weights are (I, O)
        "target_modules": _suffixes(ranks, names),
        "modules_to_save": _suffixes(dict.fromkeys(map(_module, saved)), names) or None,
        "rank_pattern": more,
        "alpha_pattern": {name: _whole(options.scale * number) for name, number in more.items()},
    }
    data = arrays | {PREFIX + name: np.ascontiguousarray(array) for name, array in saved.items()}
    contents: dict[str, bytes | str] = {
        WEIGHTS: safetensors.numpy.save(data, metadata={"format": "pt"}),
        CONFIG: to_json(settings, indent=2) + "\n",
    }
    return write_folder(folder, contents, CONFIG, "adapters", force)


def _pairs(
    module: Module, layer: LoRALinear, tensors: Mapping[str, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield (A, B, first output in the module) of our adapters for what a module is of a layer."""
    for key, _, span in layer.adapters():
        start, stop = max(span.start, module.start), min(span.stop, module.stop)
        if start < stop:
            a, b = (tensors[f"{module.linear}.{key}.{one}"] for one in "ab")
            yield a, b[:, start - span.start : stop - span.start], start - module.start


def _joined(pairs: list[tuple[np.ndarray, np.ndarray, int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one adapter (A, B) of ``width`` outputs that computes what several of some of them do."""
    a = np.concatenate([a for a, _, _ in pairs], axis=1)
    b, row = np.zeros((a.shape[1], width), a.dtype), 0
    for _, part, start in pairs:
        b[row : row + len(part), start : start + part.shape[1]] = part
        row += len(part)
    return a, b


def _saved(
    kind: Architecture, model: Sequential, tensors: Mapping[str, np.ndarray], options: LoRAOptions
) -> dict[str, np.ndarray]:
    """Return the tensors that are trained besides the adapters, by their names."""
    found, layers = dict[str, np.ndarray](), adapted(model)
    for rule in rules_of(kind.table(model), model):
        if any(matches(pattern, rule.name) for pattern in options.train):
            if rule.name.rpartition(".")[0] in layers:
                raise UserError(f"{rule.name} is trained and has adapters, which peft does not do: export hf:DIR")
            found |= rule.write(tensors[rule.name])
    if odd := [name for name in found if name.rpartition(".")[2] not in ("weight", "bias")]:
        raise UserError(f"{odd[0]} is trained and no weight or bias of a layer, so peft cannot have it: export hf:DIR")
    return found


def _module(name: str) -> str:
    """Return the module of a tensor."""
    return name.rpartition(".")[0]


def _modules(tensors: Iterable[str]) -> list[str]:
    """Return the modules of tensors, and those that hold these: peft looks at the names of all."""
    return list(dict.fromkeys(name for one in tensors for name in accumulate(_module(one).split("."), "{}.{}".format)))


def _suffixes(chosen: Iterable[str], names: list[str]) -> list[str]:
    """Return the shortest ends of the chosen names that no other name has."""
    chosen, found = list(chosen), dict[str, None]()
    for name in chosen:
        parts = name.split(".")
        ends = [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]
        others = [other for other in names if other not in chosen]
        found[next(end for end in ends if not any(f".{one}".endswith(f".{end}") for one in others))] = None
    return sorted(found)


def _whole(value: float) -> float:
    """Return a number as a whole one where it is."""
    return int(value) if value == int(value) else value
