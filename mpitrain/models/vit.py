"""Vision transformers (Dosovitskiy et al. 2020, "An image is worth 16x16 words", arXiv 2010.11929)."""

from ..layers import (
    GELU,
    Dropout,
    FirstToken,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PatchEmbedding,
    PreNormBlock,
    Sequential,
)
from .shapes import image_shape
from .transformer import Size, feed_forward, initialize, linear, pick_size

SIZES = {"small": Size(6, 192, 3), "tiny": Size(4, 64, 2), "base": Size(12, 768, 12)}


def vit(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    patch: int = 4,
    size: str = "small",
    depth: int = 0,
    width: int = 0,
    heads: int = 0,
    hidden: int = 0,
    dropout: float = 0.0,
    eps: float = 1e-6,
) -> Sequential:
    """A vision transformer: blocks of attention over the patches of an image, and a class token.

    Parameters
    ----------
    patch : int
        Height and width of a patch, which divide those of the image.
    size : {"small", "tiny", "base"}
        6 x 192, 4 x 64, and 12 x 768 (ViT-B/16 with patch=16: 86,567,656 parameters for 224x224x3 and 1000 classes).
    depth, width, heads, hidden : int
        Other numbers than those of the size; 0 for these. ``hidden`` is the size inside of the feed-forward network, 4
        times the width by default.
    dropout : float
        Probability of dropout after the embedding, in attention, and where blocks add to their shortcut.
    eps : float
        Of the norms.
    """
    image = image_shape("vit", input_shape, least=1)
    dims = pick_size("vit", SIZES, size, depth=depth, width=width, heads=heads, hidden=hidden)
    layers: list[Layer] = [PatchEmbedding(image, patch, dims.width), *([Dropout(dropout)] if dropout else [])]
    layers += [_block(dims, dropout, eps) for _ in range(dims.depth)]
    return Sequential(*layers, LayerNorm(dims.width, eps), FirstToken(), linear(dims.width, num_outputs))


def _block(dims: Size, dropout: float, eps: float) -> PreNormBlock:
    attention = MultiHeadAttention(dims.width, dims.heads, dropout=dropout)
    initialize(attention)
    mlp = feed_forward(dims.width, dims.hidden or 4 * dims.width, GELU())
    return PreNormBlock(LayerNorm(dims.width, eps), attention, LayerNorm(dims.width, eps), mlp, dropout=dropout)
