"""GPT-2 (``GPT2LMHeadModel``)."""

from typing import Any

from ...layers import Sequential
from .architecture import Architecture, Settings, attention_of, dropout_of, embedding_of, first_block, positions_of
from .rules import Table, block_names, same


def options(settings: Settings) -> dict[str, Any]:
    """Return the options of our gpt."""
    width = settings.number("n_embd", 768)
    settings.only("activation_function", "gelu_new", "gelu_new", "gelu_pytorch_tanh")
    settings.only("n_inner", None, None, 4 * width)
    settings.only("tie_word_embeddings", True, True)
    settings.only("scale_attn_weights", True, True)
    settings.only("scale_attn_by_inverse_layer_idx", False, False)
    return {
        "depth": settings.number("n_layer", 12),
        "width": width,
        "heads": settings.number("n_head", 12),
        "window": settings.number("n_positions", 1024),
        "eps": settings.number("layer_norm_epsilon", 1e-5),
    }


def table(model: Sequential) -> Table:
    """Return the names; its Conv1D lies as a Linear of ours."""
    return Table(
        first=[same("weight", "transformer.wte.weight"), same("positions", "transformer.wpe.weight")],
        block=[
            same("norm1", "ln_1"),
            same("attention.qkv", "attn.c_attn"),
            same("attention.out", "attn.c_proj"),
            same("norm2", "ln_2"),
            same("mlp.0", "mlp.c_fc"),
            same("mlp.2", "mlp.c_proj"),
        ],
        blocks="transformer.h.{}",
        rest=[same("", "transformer.ln_f")],
    )


def settings(model: Sequential) -> dict[str, Any]:
    """Return config.json."""
    dropout = dropout_of(model)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": embedding_of(model).num_embeddings,
        "n_positions": positions_of(model),
        "n_embd": embedding_of(model).size,
        "n_layer": len(block_names(model)),
        "n_head": attention_of(model).num_heads,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": first_block(model).norm1.eps,
        "resid_pdrop": dropout,
        "embd_pdrop": dropout,
        "attn_pdrop": dropout,
        "bos_token_id": embedding_of(model).end_of_text,
        "eos_token_id": embedding_of(model).end_of_text,
        "tie_word_embeddings": True,
    }


GPT2 = Architecture(
    "gpt2",
    "gpt",
    options,
    table,
    settings,
    base="transformer.",
    buffers=r"lm_head\.weight|.*\.attn\.(masked_)?bias",  # the head is the table of token vectors
)
