"""Text from a language model: the next token's logits, with a cache of keys and values, and draws from them."""

from .next_token import NextToken, continue_text, generate
from .sampling import Sampling

__all__ = ["NextToken", "Sampling", "continue_text", "generate"]
