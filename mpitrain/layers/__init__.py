"""Layers with an explicit forward and backward."""

from .activations import GELU, ReLU, Sigmoid, SiLU, SwiGLU, Tanh
from .base import Layer
from .batchnorm2d import BatchNorm2d
from .column_embeddings import ColumnEmbeddings
from .concat import Concat
from .conv2d import Conv2d
from .conv_transpose2d import ConvTranspose2d
from .dense_block import DenseBlock
from .dot_product import DotProduct, NeuralFactorization, SideBySide
from .dropout import Dropout
from .embedding import Embedding
from .experts import Experts
from .flatten import Flatten
from .interactions import DotInteraction, HashedColumns, OnNumbers
from .layernorm import LayerNorm
from .linear import Linear
from .lora import LoRALinear
from .mixture_of_experts import MixtureOfExperts
from .multi_head_attention import MultiHeadAttention
from .patches import PatchEmbedding
from .pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from .recompute import Recompute
from .residual import Residual
from .rmsnorm import RMSNorm
from .samples import as_activations, output_layer
from .sequential import Part, Sequential, Unit
from .skip_concat import SkipConcat
from .tokens import FirstToken, TiedHead, TokenEmbedding
from .transformer_block import PostNormBlock, PreNormBlock
from .user_history import FirstColumn, UserHistory

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm2d",
    "ColumnEmbeddings",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "DenseBlock",
    "DotInteraction",
    "DotProduct",
    "Dropout",
    "Embedding",
    "Experts",
    "FirstColumn",
    "FirstToken",
    "Flatten",
    "GlobalAvgPool",
    "HashedColumns",
    "Layer",
    "LayerNorm",
    "Linear",
    "LoRALinear",
    "MaxPool2d",
    "MixtureOfExperts",
    "MultiHeadAttention",
    "NeuralFactorization",
    "OnNumbers",
    "Part",
    "PatchEmbedding",
    "PostNormBlock",
    "PreNormBlock",
    "RMSNorm",
    "ReLU",
    "Recompute",
    "Residual",
    "Sequential",
    "SiLU",
    "SideBySide",
    "Sigmoid",
    "SkipConcat",
    "SwiGLU",
    "Tanh",
    "TiedHead",
    "TokenEmbedding",
    "Unit",
    "UserHistory",
    "as_activations",
    "output_layer",
]
