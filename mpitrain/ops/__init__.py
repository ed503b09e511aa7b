"""Forward and backward functions on arrays: the NumPy path, and the oracle of every faster one."""

from . import cuda, native  # the faster ones
from .activations import (
    add,
    add_relu,
    add_relu_dx,
    multiply,
    relu,
    relu_dx,
    sigmoid,
    sigmoid_dx,
    silu,
    silu_dx,
    tanh,
    tanh_dx,
)
from .attention import attention, attention_dx
from .batchnorm import Norm, batchnorm_backward, batchnorm_evaluate, batchnorm_train
from .batchnorm_passes import batchnorm, batchnorm_dx, batchnorm_statistics, batchnorm_sums
from .conv2d import Conv2dPlan, conv2d, conv2d_db, conv2d_dw, conv2d_dx, plan_conv2d
from .conv2d_columns import Columns
from .dispatch import OPS
from .dropout import dropout_mask
from .embedding import check_ids, embedding, embedding_dw
from .gelu import gelu, gelu_dx, gelu_tanh
from .gradient import Gradient
from .layernorm import layernorm, layernorm_dw, layernorm_dx, layernorm_gradients
from .linear import (
    column_sum,
    linear,
    linear_dw,
    linear_dx,
    linear_dx_gelu,
    linear_dx_relu,
    linear_gelu,
    linear_gelu_dx,
)
from .mse import squared_error, squared_error_dx
from .pool import global_mean, global_mean_dx, max_pool, max_pool_dx, max_pool_winner, mean_pool, mean_pool_dx
from .softmax import softmax, softmax_dx
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
    "Gradient",
    "Norm",
    "add",
    "add_relu",
    "add_relu_dx",
    "attention",
    "attention_dx",
    "batchnorm",
    "batchnorm_backward",
    "batchnorm_dx",
    "batchnorm_evaluate",
    "batchnorm_statistics",
    "batchnorm_sums",
    "batchnorm_train",
    "check_classes",
    "check_ids",
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
    "layernorm_gradients",
    "linear",
    "linear_dw",
    "linear_dx",
    "linear_dx_gelu",
    "linear_dx_relu",
    "linear_gelu",
    "linear_gelu_dx",
    "max_pool",
    "max_pool_dx",
    "max_pool_winner",
    "mean_pool",
    "mean_pool_dx",
    "multiply",
    "native",
    "plan_conv2d",
    "relu",
    "relu_dx",
    "sigmoid",
    "sigmoid_dx",
    "silu",
    "silu_dx",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_dx",
    "softmax_dx",
    "square_sums",
    "squared_error",
    "squared_error_dx",
    "tanh",
    "tanh_dx",
]
