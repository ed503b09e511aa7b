"""Adapters as the package ``peft`` keeps them: ``adapter_config.json`` and ``adapter_model.safetensors``.

Each of their Linears has an A (r, I) and a B (O, r) of its own; ours may be several of theirs side by side, or a part:

    ours                    theirs
    one adapter of q        q_proj: the same
    one adapter of q, k, v  q_proj, k_proj, v_proj: A three times, and each its columns of B
    adapters of q and of v  c_attn, which is all of q, k, v: rank 2 r, with zeros in B
"""

from typing import Any, NamedTuple

from ...layers import Linear, Sequential
from ...models.adapt import places
from .architecture import Architecture
from .layouts import LINEAR, SAME
from .rules import rules_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
COMPUTED: dict[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "lora_bias": False,
    "rank_pattern": {},
    "alpha_pattern": {},
}
"""Settings of adapters, with the values that ours compute."""


class Module(NamedTuple):
    """One of their Linears: its name, and the outputs of ours that it is."""

    name: str
    linear: str
    start: int
    stop: int


def modules_of(kind: Architecture, model: Sequential) -> list[Module]:
    """Return their Linears for all of ours, in forward order."""
    linears = {place.name for place in places(model) if isinstance(place.layer, Linear)}
    found = []
    for rule in rules_of(kind.table(model), model):
        name, _, which = rule.name.rpartition(".")
        if name in linears and which == "weight" and all(part.layout in (LINEAR, SAME) for part in rule.parts):
            start = 0
            for part in rule.parts:
                found.append(Module(part.name.removesuffix(".weight"), name, start, start + part.width))
                start += part.width
    return found
