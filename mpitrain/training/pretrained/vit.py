"""Vision transformers (``ViTForImageClassification``)."""

from typing import Any

from ...errors import UserError
from ...layers import PatchEmbedding, Sequential
from .architecture import Architecture, Settings, attention_of, dropout_of, first_block, hidden_size, labels_of
from .layouts import leading, patches
from .rules import Table, block_names, linear, lying, same


def options(settings: Settings) -> dict[str, Any]:
    """Return the options of our vit."""
    settings.only("hidden_act", "gelu", "gelu")
    settings.only("qkv_bias", True, True)
    return {
        "patch": settings.number("patch_size", 16),
        "depth": settings.number("num_hidden_layers", 12),
        "width": settings.number("hidden_size", 768),
        "heads": settings.number("num_attention_heads", 12),
        "hidden": settings.number("intermediate_size", 3072),
        "eps": settings.number("layer_norm_eps", 1e-12),
    }


def table(model: Sequential) -> Table:
    """Return the names."""
    embedding = _embedding(model)
    channels = embedding.project.num_inputs // embedding.patch**2
    return Table(
        first=[
            lying("token", "vit.embeddings.cls_token", leading(2)),
            lying("positions", "vit.embeddings.position_embeddings", leading(1)),
            lying("project", "vit.embeddings.patch_embeddings.projection", patches(embedding.patch, channels)),
        ],
        block=[
            same("norm1", "layernorm_before"),
            linear("attention.qkv", *(f"attention.attention.{one}" for one in ("query", "key", "value"))),
            linear("attention.out", "attention.output.dense"),
            same("norm2", "layernorm_after"),
            linear("mlp.0", "intermediate.dense"),
            linear("mlp.2", "output.dense"),
        ],
        blocks="vit.encoder.layer.{}",
        rest=[same("", "vit.layernorm"), linear("", "classifier", head=True)],
    )


def settings(model: Sequential) -> dict[str, Any]:
    """Return config.json.

    Raises
    ------
    UserError
        For images that are not square, which the file cannot say.
    """
    embedding, dropout = _embedding(model), dropout_of(model)
    num_patches = embedding.positions.shape[0] - 1
    side = round(num_patches**0.5)
    if side * side != num_patches:
        raise UserError("a ViT of Hugging Face is for square images, and this model is not")
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "image_size": side * embedding.patch,
        "patch_size": embedding.patch,
        "num_channels": embedding.project.num_inputs // embedding.patch**2,
        "hidden_size": embedding.size,
        "num_hidden_layers": len(block_names(model)),
        "num_attention_heads": attention_of(model).num_heads,
        "intermediate_size": hidden_size(model),
        "hidden_act": "gelu",
        "layer_norm_eps": first_block(model).norm1.eps,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "qkv_bias": True,
        **labels_of(model),
    }


def _embedding(model: Sequential) -> PatchEmbedding:
    layer = model[0]
    if not isinstance(layer, PatchEmbedding):
        raise UserError("the model does not begin with the patches of an image, as a ViT does")
    return layer


VIT = Architecture("vit", "vit", options, table, settings, base="vit.", heads=r"(vit\.)?pooler\..*|classifier\..*")
