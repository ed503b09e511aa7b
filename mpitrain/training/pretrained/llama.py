"""Llama (``LlamaForCausalLM``)."""

from typing import Any

from ...layers import Sequential, TiedHead
from .architecture import (
    Architecture,
    Settings,
    attention_of,
    embedding_of,
    first_block,
    hidden_size,
    last_layer,
)
from .rules import Table, block_names, linear, same

WINDOW = 2048  # tokens that config.json promises: rotary positions have no end of their own


def options(settings: Settings) -> dict[str, Any]:
    """Return the options of our llama."""
    width, heads = settings.number("hidden_size", 4096), settings.number("num_attention_heads", 32)
    settings.only("hidden_act", "silu", "silu")
    settings.only("attention_bias", False, False)
    settings.only("mlp_bias", False, False)
    settings.only("head_dim", None, None, width // heads)
    settings.only("tie_word_embeddings", False, False, True)
    return {
        "depth": settings.number("num_hidden_layers", 32),
        "width": width,
        "heads": heads,
        "kv_heads": settings.number("num_key_value_heads", heads),
        "hidden": settings.number("intermediate_size", 11008),
        "base": float(_rotary(settings).number("rope_theta", 10000.0)),
        "eps": settings.number("rms_norm_eps", 1e-6),
        "tied": settings.values.get("tie_word_embeddings", False),
    }


def _rotary(settings: Settings) -> Settings:
    """Return the settings of rotary positions, which newer files have in a part of their own."""
    for name in ("rope_scaling", "rope_parameters"):
        part = settings.values.get(name)
        if part is not None and not isinstance(part, dict):
            settings.only(name, None, None)
        own = Settings(settings.path, part or {})
        key = "rope_type" if "rope_type" in own.values else "type"
        own.only(key, "default", "default")
        if "rope_theta" in own.values:
            return own
    return settings


def table(model: Sequential) -> Table:
    """Return the names."""
    head = [] if is_tied(model) else [linear("", "lm_head")]
    return Table(
        first=[same("weight", "model.embed_tokens.weight")],
        block=[
            same("norm1", "input_layernorm"),
            linear("attention.qkv", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            linear("attention.out", "self_attn.o_proj"),
            same("norm2", "post_attention_layernorm"),
            linear("mlp.0", "mlp.gate_proj", "mlp.up_proj"),
            linear("mlp.2", "mlp.down_proj"),
        ],
        blocks="model.layers.{}",
        rest=[same("", "model.norm"), *head],
    )


def is_tied(model: Sequential) -> bool:
    """Return whether the head shares the token vectors."""
    return isinstance(last_layer(model), TiedHead)


def settings(model: Sequential) -> dict[str, Any]:
    """Return config.json."""
    attention = attention_of(model)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": embedding_of(model).num_embeddings,
        "max_position_embeddings": WINDOW,
        "hidden_size": attention.size,
        "num_hidden_layers": len(block_names(model)),
        "num_attention_heads": attention.num_heads,
        "num_key_value_heads": attention.num_kv_heads,
        "intermediate_size": hidden_size(model),
        "hidden_act": "silu",
        "rms_norm_eps": first_block(model).norm1.eps,
        "rope_theta": attention.rotary,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": None,
        "eos_token_id": embedding_of(model).end_of_text,
        "tie_word_embeddings": is_tied(model),
    }


LLAMA = Architecture(
    "llama",
    "llama",
    options,
    table,
    settings,
    base="model.",
    buffers=r"lm_head\.weight|.*\.rotary_emb\.inv_freq",  # a head of its own is in the table
)
