"""DistilBERT (``DistilBertForSequenceClassification``, ``DistilBertForMaskedLM``): a BERT without token types."""

from typing import Any

from ...layers import Sequential
from .architecture import (
    Architecture,
    Settings,
    attention_of,
    dropout_of,
    embedding_of,
    hidden_size,
    labels_of,
    positions_of,
)
from .bert import predicts_words
from .rules import Table, block_names, linear, same


def options(settings: Settings) -> dict[str, Any]:
    """Return the options of our bert."""
    settings.only("activation", "gelu", "gelu")
    settings.only("sinusoidal_pos_embds", False, False, True)  # in either case they are in the file
    settings.only("tie_word_embeddings", True, True)
    return {
        "depth": settings.number("n_layers", 6),
        "width": settings.number("dim", 768),
        "heads": settings.number("n_heads", 12),
        "hidden": settings.number("hidden_dim", 3072),
        "window": settings.number("max_position_embeddings", 512),
        "types": 0,
        "pooler": "relu",
    }


def table(model: Sequential) -> Table:
    """Return the names."""
    classes = [linear("", "pre_classifier", head=True), linear("", "classifier", head=True)]
    words = [
        linear("", "vocab_transform", head=True),
        same("", "vocab_layer_norm", head=True),
        same("", "vocab_projector", head=True),
    ]
    return Table(
        first=[
            same("weight", "distilbert.embeddings.word_embeddings.weight"),
            same("positions", "distilbert.embeddings.position_embeddings.weight"),
            same("norm", "distilbert.embeddings.LayerNorm"),
        ],
        block=[
            linear("attention.qkv", *(f"attention.{one}_lin" for one in "qkv")),
            linear("attention.out", "attention.out_lin"),
            same("norm1", "sa_layer_norm"),
            linear("mlp.0", "ffn.lin1"),
            linear("mlp.2", "ffn.lin2"),
            same("norm2", "output_layer_norm"),
        ],
        blocks="distilbert.transformer.layer.{}",
        rest=words if predicts_words(model) else classes,
    )


def settings(model: Sequential) -> dict[str, Any]:
    """Return config.json."""
    dropout = dropout_of(model)
    name = "DistilBertForMaskedLM" if predicts_words(model) else "DistilBertForSequenceClassification"
    return {
        "architectures": [name],
        "model_type": "distilbert",
        "vocab_size": embedding_of(model).num_embeddings,
        "max_position_embeddings": positions_of(model),
        "dim": embedding_of(model).size,
        "n_layers": len(block_names(model)),
        "n_heads": attention_of(model).num_heads,
        "hidden_dim": hidden_size(model),
        "activation": "gelu",
        "dropout": dropout,
        "attention_dropout": dropout,
        "seq_classif_dropout": dropout,
        "pad_token_id": 0,
        **labels_of(model),
    }


DISTILBERT = Architecture(
    "distilbert",
    "bert",
    options,
    table,
    settings,
    is_kind=lambda model: embedding_of(model).types is None,
    base="distilbert.",
    buffers=r".*\.position_ids|vocab_projector\.weight",
    heads=r"(pre_)?classifier\..*|vocab_.*|qa_outputs\..*",
)
