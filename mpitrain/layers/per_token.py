"""Layers that take the tokens of a row one by one, or put together layers that do."""

from .activations import GELU, ReLU, Sigmoid, SiLU, SwiGLU, Tanh
from .dropout import Dropout
from .embedding import Embedding
from .experts import Experts
from .layernorm import LayerNorm
from .linear import Linear
from .lora import Adapter, LoRALinear
from .mixture_of_experts import MixtureOfExperts
from .multi_head_attention import MultiHeadAttention
from .residual import Residual
from .rmsnorm import RMSNorm
from .sequential import Sequential
from .tokens import TiedHead, TokenEmbedding
from .transformer_block import PostNormBlock, PreNormBlock

PER_TOKEN = (
    *(GELU, ReLU, SiLU, Sigmoid, SwiGLU, Tanh, Dropout, LayerNorm, RMSNorm, Linear, LoRALinear, Adapter),
    *(Embedding, TokenEmbedding, TiedHead, MultiHeadAttention, Experts, MixtureOfExperts),
    *(PreNormBlock, PostNormBlock, Residual, Sequential),
)
"""Layers of which a token's result depends on no other token, or (attention) only through keys and values."""
