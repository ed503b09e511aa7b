"""A small GPT: blocks that normalize first, causal attention, a logit for each next token (Radford et al. 2019).

Positions are not learned: there is no layer for them.
"""

from mpitrain import models
from mpitrain.layers import GELU, Embedding, LayerNorm, Linear, MultiHeadAttention, Residual, Sequential

VOCABULARY, LENGTH = 11, 9


def block(size, num_heads, dropout):
    attention = Sequential(LayerNorm(size), MultiHeadAttention(size, num_heads, causal=True, dropout=dropout))
    perceptron = Sequential(LayerNorm(size), Linear(size, 4 * size), GELU(approximate=True), Linear(4 * size, size))
    return Sequential(Residual(attention), Residual(perceptron))


def transformer(size=12, num_heads=2, num_blocks=2, dropout=0.0):
    """Return the model: tokens (N, T) to logits (N, T, VOCABULARY)."""
    blocks = [block(size, num_heads, dropout) for _ in range(num_blocks)]
    head = Linear(size, VOCABULARY, bias=False)
    return models.prepare(Sequential(Embedding(VOCABULARY, size), *blocks, LayerNorm(size), head))
