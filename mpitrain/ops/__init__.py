"""Forward and backward functions on arrays: the NumPy path, and the oracle of every faster one."""

from . import cuda, native  # the faster ones
from .activations import add_relu, add_relu_dx, relu, relu_dx, sigmoid, sigmoid_dx, silu, silu_dx, tanh, tanh_dx
from .batchnorm import batchnorm, batchnorm_dx, batchnorm_statistics, batchnorm_sums
from .conv2d import Conv2dPlan, conv2d, conv2d_db, conv2d_dw, conv2d_dx, plan_conv2d
from .conv2d_columns import Columns
from .dispatch import OPS
from .dropout import dropout_mask
from .embedding import embedding, embedding_dw
from .gelu import gelu, gelu_dx, gelu_tanh
from .layernorm import layernorm, layernorm_dw, layernorm_dx
from .linear import column_sum, linear, linear_dw, linear_dx
from .mse import squared_error, squared_error_dx
from .pool import global_mean, global_mean_dx, max_pool, max_pool_dx, max_pool_winner, mean_pool, mean_pool_dx
from .softmax_cross_entropy import (
    check_classes,
    cross_entropy,
    cross_entropy_dx,
    softmax_cross_entropy,
    softmax_cross_entropy_dx,
)
from .square_sums import square_sums

__all__ = [
    "OPS",
    "Columns",
    "Conv2dPlan",
    "add_relu",
    "add_relu_dx",
    "batchnorm",
    "batchnorm_dx",
    "batchnorm_statistics",
    "batchnorm_sums",
    "check_classes",
    "column_sum",
    "conv2d",
    "conv2d_db",
    "conv2d_dw",
    "conv2d_dx",
    "cross_entropy",
    "cross_entropy_dx",
    "cuda",
    "dropout_mask",
    "embedding",
    "embedding_dw",
    "gelu",
    "gelu_dx",
    "gelu_tanh",
    "global_mean",
    "global_mean_dx",
    "layernorm",
    "layernorm_dw",
    "layernorm_dx",
    "linear",
    "linear_dw",
    "linear_dx",
    "max_pool",
    "max_pool_dx",
    "max_pool_winner",
    "mean_pool",
    "mean_pool_dx",
    "native",
    "plan_conv2d",
    "relu",
    "relu_dx",
    "sigmoid",
    "sigmoid_dx",
    "silu",
    "silu_dx",
    "softmax_cross_entropy",
    "softmax_cross_entropy_dx",
    "square_sums",
    "squared_error",
    "squared_error_dx",
    "tanh",
    "tanh_dx",
]
