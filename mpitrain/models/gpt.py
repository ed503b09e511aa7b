"""GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners"): it predicts the next token."""

from ..layers import (
    GELU,
    Dropout,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PreNormBlock,
    Sequential,
    TiedHead,
    TokenEmbedding,
    init,
)
from .transformer import (
    Mixture,
    Size,
    check_vocabulary,
    feed_forward,
    initialize,
    mixture_of_experts,
    pick_size,
    residual_std,
    row_length,
    window_of,
)

SIZES = {"small": Size(6, 384, 6), "tiny": Size(4, 128, 4), "gpt2": Size(12, 768, 12)}


def gpt(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    size: str = "small",
    depth: int = 0,
    width: int = 0,
    heads: int = 0,
    dropout: float = 0.0,
    window: int = 0,
    eps: float = 1e-5,
    vocabulary: int = 0,
    end_of_text: int | None = None,
    experts: int = 0,
    top_k: int = 2,
    every: int = 1,
    balance: str = "loss",
    balance_rate: float = 0.0,
) -> Sequential:
    """A GPT-2: learned positions, blocks of causal attention and GELU, and a head that shares the token vectors.

    Parameters
    ----------
    size : {"small", "tiny", "gpt2"}
        6 x 384, 4 x 128, and the 12 x 768 of GPT-2's smallest (124,439,808 parameters with its 50,257 tokens and a
        window of 1024).
    depth, width, heads : int
        Other numbers than those of the size; 0 for these.
    dropout : float
        Probability of dropout after the embedding, in attention, and where blocks add to their shortcut.
    window : int
        The most tokens of a sequence; 0 for the length of a row.
    eps : float
        Of the norms.
    vocabulary : int
        Number of tokens; 0 for ``num_outputs``, which it must be equal to.
    end_of_text : int, optional
        The token that ends a sequence: sequences packed into one row do not see each other then.
    experts : int
        Feed-forward networks of a block, of which each token takes ``top_k`` (``layers/mixture_of_experts.py``); 0 for
        one that all tokens take.
    top_k : int
    every : int
        Blocks number ``every``, 2 ``every``, ... have experts, the others one network.
    balance : {"loss", "bias", "none"}
        How tokens are kept from going to few experts only.
    balance_rate : float
        The coefficient of the loss (0.01) or the step of the bias (0.001); 0 for these.

    Notes
    -----
    Initial weights are N(0, 0.02^2) draws, those of a Linear that adds to the shortcut smaller by sqrt(2 depth).
    """
    length = row_length("gpt", input_shape)
    check_vocabulary("gpt", vocabulary, num_outputs)
    dims = pick_size("gpt", SIZES, size, depth=depth, width=width, heads=heads)
    tokens = TokenEmbedding(
        num_outputs, dims.width, num_positions=window_of("gpt", window, length), end_of_text=end_of_text
    )
    layers: list[Layer] = [tokens, *([Dropout(dropout)] if dropout else [])]
    mixture = Mixture(experts, top_k, every, balance, balance_rate).check("gpt", dims.depth)
    layers += [_block(dims, dropout, eps, mixture if mixture.is_in(i) else None) for i in range(dims.depth)]
    return Sequential(*layers, LayerNorm(dims.width, eps), TiedHead(tokens))


def _block(dims: Size, dropout: float, eps: float, mixture: Mixture | None) -> PreNormBlock:
    attention = MultiHeadAttention(dims.width, dims.heads, causal=True, dropout=dropout)
    initialize(attention)
    std = residual_std(dims.depth)
    attention.out.weight.init = init.normal(std)
    sizes, activation = (dims.width, 4 * dims.width), GELU(approximate=True)
    if mixture is None:
        mlp: Layer = feed_forward(*sizes, activation, last_std=std)
    else:
        mlp = mixture_of_experts(*sizes, activation, mixture, last_std=std)
    return PreNormBlock(LayerNorm(dims.width, eps), attention, LayerNorm(dims.width, eps), mlp, dropout=dropout)
