"""Llama (Touvron et al. 2023, arXiv 2302.13971): GPT with other norms, positions and feed-forward networks."""

from ..errors import UserError
from ..layers import (
    Layer,
    Linear,
    MultiHeadAttention,
    PreNormBlock,
    RMSNorm,
    Sequential,
    SwiGLU,
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
    linear,
    mixture_of_experts,
    pick_size,
    residual_std,
    row_length,
)

SIZES = {
    "small": Size(6, 384, 6, 1024, 2),
    "tiny": Size(4, 128, 4, 352, 2),
    "smollm2-135m": Size(30, 576, 9, 1536, 3),
}


def llama(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    size: str = "small",
    depth: int = 0,
    width: int = 0,
    heads: int = 0,
    kv_heads: int = 0,
    hidden: int = 0,
    base: float = 10000.0,
    eps: float = 1e-5,
    tied: bool = True,
    vocabulary: int = 0,
    end_of_text: int | None = None,
    experts: int = 0,
    top_k: int = 2,
    every: int = 1,
    balance: str = "loss",
    balance_rate: float = 0.0,
) -> Sequential:
    """A Llama: RMSNorm, rotary positions, heads that share keys and values, SwiGLU; it predicts the next token.

    Parameters
    ----------
    size : {"small", "tiny", "smollm2-135m"}
        6 x 384, 4 x 128, and the 30 x 576 of SmolLM2-135M (134,515,008 parameters with its 49,152 tokens; base 100000).
    depth, width, heads, kv_heads, hidden : int
        Other numbers than those of the size; 0 for these. ``hidden`` is the size inside of the feed-forward network.
    base : float
        Of the rotary positions (Su et al. 2021, arXiv 2104.09864).
    eps : float
        Of the norms.
    tied : bool
        The head shares the token vectors; otherwise it has weights of its own.
    vocabulary, end_of_text, experts, top_k, every, balance, balance_rate
        As in ``gpt``; with experts, it is a Mixtral (Jiang et al. 2024, arXiv 2401.04088).
    """
    row_length("llama", input_shape)
    check_vocabulary("llama", vocabulary, num_outputs)
    given = {"depth": depth, "width": width, "heads": heads, "kv_heads": kv_heads, "hidden": hidden}
    dims = pick_size("llama", SIZES, size, **given)
    if not base > 1:
        raise UserError(f"the base of rotary positions must be more than 1, but it is {base}")
    tokens = TokenEmbedding(num_outputs, dims.width, end_of_text=end_of_text)
    mixture = Mixture(experts, top_k, every, balance, balance_rate).check("llama", dims.depth)
    blocks = [_block(dims, base, eps, mixture if mixture.is_in(i) else None) for i in range(dims.depth)]
    head: Layer = TiedHead(tokens) if tied else linear(dims.width, num_outputs, bias=False)
    return Sequential(tokens, *blocks, RMSNorm(dims.width, eps), head)


def _block(dims: Size, base: float, eps: float, mixture: Mixture | None) -> PreNormBlock:
    attention = MultiHeadAttention(
        dims.width, dims.heads, causal=True, bias=False, num_kv_heads=dims.kv_heads, rotary=base
    )
    initialize(attention)
    std = residual_std(dims.depth)
    attention.out.weight.init = init.normal(std)
    mlp = _swiglu(dims, std) if mixture is None else _experts(dims, std, mixture)
    return PreNormBlock(RMSNorm(dims.width, eps), attention, RMSNorm(dims.width, eps), mlp)


def _swiglu(dims: Size, std: float) -> Layer:
    mlp = feed_forward(dims.width, dims.hidden, SwiGLU(), last_std=std, bias=False, parts=2)
    first = mlp[0]
    assert isinstance(first, Linear)
    first.parts = ("gate", dims.hidden), ("up", dims.hidden)
    return mlp


def _experts(dims: Size, std: float, mixture: Mixture) -> Layer:
    return mixture_of_experts(dims.width, dims.hidden, SwiGLU(), mixture, last_std=std, bias=False)
