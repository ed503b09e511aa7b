"""BERT (Devlin et al. 2018, arXiv 1810.04805), for classes of texts, or for the words that are masked in them."""

from ..errors import UserError
from ..layers import (
    GELU,
    Dropout,
    FirstToken,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PostNormBlock,
    ReLU,
    Sequential,
    Tanh,
    TiedHead,
    TokenEmbedding,
)
from .transformer import Size, feed_forward, initialize, linear, pick_size, row_length, window_of

SIZES = {"minilm-l6": Size(6, 384, 12), "tiny": Size(2, 128, 2), "base": Size(12, 768, 12)}
POOLERS: dict[str, type[Layer]] = {"tanh": Tanh, "relu": ReLU}


def bert(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    size: str = "minilm-l6",
    depth: int = 0,
    width: int = 0,
    heads: int = 0,
    hidden: int = 0,
    dropout: float = 0.0,
    window: int = 0,
    types: int = 2,
    pooler: str = "tanh",
    eps: float = 1e-12,
    vocabulary: int = 0,
) -> Sequential:
    """A BERT: learned positions, token types, norms behind each sum, and a head for classes or for masked words.

    Parameters
    ----------
    size : {"minilm-l6", "tiny", "base"}
        6 x 384 (MiniLM-L6: 22,713,216 parameters with 30,522 tokens and a window of 512, and its classifier), 2 x 128,
        and 12 x 768 (BERT base: 109,482,240).
    depth, width, heads, hidden : int
        Other numbers than those of the size; 0 for these. ``hidden`` is the size inside of the feed-forward network, 4
        times the width by default.
    dropout : float
        Probability of dropout after the embedding, in attention, where blocks add to their shortcut, and before the
        classifier.
    window : int
        The most tokens of a text; 0 for the length of a row.
    types : int
        Number of token types, of which the tokens of a text have the first; 0 for none (DistilBERT).
    pooler : {"tanh", "relu"}
        Activation of the pooler; relu in DistilBERT.
    eps : float
        Of the norms.
    vocabulary : int
        Number of tokens. Where it is another than ``num_outputs``, these are classes, told from the first token of a
        text by the pooler; else they are tokens, and targets are those that were masked (-100 elsewhere).
    """
    length = row_length("bert", input_shape)
    if pooler not in POOLERS:
        raise UserError(f"bert has no pooler '{pooler}'; there are {', '.join(POOLERS)}")
    dims = pick_size("bert", SIZES, size, depth=depth, width=width, heads=heads, hidden=hidden)
    tokens = TokenEmbedding(
        vocabulary or num_outputs,
        dims.width,
        num_positions=window_of("bert", window, length),
        num_types=types,
        norm=LayerNorm(dims.width, eps),
        causal=False,
    )
    layers: list[Layer] = [tokens, *([Dropout(dropout)] if dropout else [])]
    layers += [_block(dims, dropout, eps) for _ in range(dims.depth)]
    if (vocabulary or num_outputs) == num_outputs:
        return Sequential(
            *layers, linear(dims.width, dims.width), GELU(), LayerNorm(dims.width, eps), TiedHead(tokens, bias=True)
        )
    layers += [
        FirstToken(),
        linear(dims.width, dims.width),
        POOLERS[pooler](),
        *([Dropout(dropout)] if dropout else []),
    ]
    return Sequential(*layers, linear(dims.width, num_outputs))


def _block(dims: Size, dropout: float, eps: float) -> PostNormBlock:
    attention = MultiHeadAttention(dims.width, dims.heads, dropout=dropout)
    initialize(attention)
    mlp = feed_forward(dims.width, dims.hidden or 4 * dims.width, GELU())
    norms = LayerNorm(dims.width, eps), LayerNorm(dims.width, eps)
    return PostNormBlock(attention, norms[0], mlp, norms[1], dropout=dropout)
