"""BERT and MiniLM (``BertForSequenceClassification``, ``BertForMaskedLM``)."""

from typing import Any

from ...layers import Sequential, TiedHead
from .architecture import (
    Architecture,
    Settings,
    attention_of,
    dropout_of,
    embedding_of,
    first_block,
    hidden_size,
    labels_of,
    last_layer,
    positions_of,
)
from .rules import Table, block_names, linear, same


def options(settings: Settings) -> dict[str, Any]:
    """Return the options of our bert."""
    settings.only("hidden_act", "gelu", "gelu")
    settings.only("position_embedding_type", "absolute", "absolute")
    settings.only("is_decoder", False, False)
    settings.only("tie_word_embeddings", True, True)
    return {
        "depth": settings.number("num_hidden_layers", 12),
        "width": settings.number("hidden_size", 768),
        "heads": settings.number("num_attention_heads", 12),
        "hidden": settings.number("intermediate_size", 3072),
        "window": settings.number("max_position_embeddings", 512),
        "types": settings.number("type_vocab_size", 2),
        "eps": settings.number("layer_norm_eps", 1e-12),
    }


def table(model: Sequential) -> Table:
    """Return the names."""
    classes = [linear("", "bert.pooler.dense", head=True), linear("", "classifier", head=True)]
    words = [
        linear("", "cls.predictions.transform.dense", head=True),
        same("", "cls.predictions.transform.LayerNorm", head=True),
        same("", "cls.predictions", head=True),
    ]
    return Table(
        first=[
            same("weight", "bert.embeddings.word_embeddings.weight"),
            same("positions", "bert.embeddings.position_embeddings.weight"),
            same("types", "bert.embeddings.token_type_embeddings.weight"),
            same("norm", "bert.embeddings.LayerNorm"),
        ],
        block=[
            linear("attention.qkv", *(f"attention.self.{one}" for one in ("query", "key", "value"))),
            linear("attention.out", "attention.output.dense"),
            same("norm1", "attention.output.LayerNorm"),
            linear("mlp.0", "intermediate.dense"),
            linear("mlp.2", "output.dense"),
            same("norm2", "output.LayerNorm"),
        ],
        blocks="bert.encoder.layer.{}",
        rest=words if predicts_words(model) else classes,
    )


def predicts_words(model: Sequential) -> bool:
    """Return whether the head is that for masked words."""
    return isinstance(last_layer(model), TiedHead)


def settings(model: Sequential) -> dict[str, Any]:
    """Return config.json."""
    dropout, types = dropout_of(model), embedding_of(model).types
    assert types is not None
    return {
        "architectures": ["BertForMaskedLM" if predicts_words(model) else "BertForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": embedding_of(model).num_embeddings,
        "max_position_embeddings": positions_of(model),
        "type_vocab_size": types.shape[0],
        "hidden_size": embedding_of(model).size,
        "num_hidden_layers": len(block_names(model)),
        "num_attention_heads": attention_of(model).num_heads,
        "intermediate_size": hidden_size(model),
        "hidden_act": "gelu",
        "layer_norm_eps": first_block(model).norm1.eps,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "pad_token_id": 0,
        **labels_of(model),
    }


BERT = Architecture(
    "bert",
    "bert",
    options,
    table,
    settings,
    is_kind=lambda model: embedding_of(model).types is not None,
    base="bert.",
    buffers=r".*\.position_ids|cls\.predictions\.decoder\.(weight|bias)",  # shared with others
    heads=r"(bert\.)?pooler\..*|classifier\..*|cls\..*|qa_outputs\..*",
)
