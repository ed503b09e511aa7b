"""Ops in C (kernels/cpu). Importing this package registers the paths where the extension was built.

A kernel checks types, shapes and layouts itself and returns False where it does not cover them; then NumPy runs. Most
kernels take the arguments of their op as they are; the modules here adapt the others.
"""

from typing import Any

from ...cpu_kernels import C
from .. import (
    batchnorm_passes,
    compress,
    elementwise,
    embedding,
    gelu,
    layernorm,
    linear,
    reduce,
    rmsnorm,
    rotary,
    softmax,
    swiglu,
)
from ..dispatch import Op
from ..softmax_cross_entropy import softmax_cross_entropy_dx

SAME_ARGUMENTS: tuple[Op[..., Any], ...] = (
    *(elementwise.relu, elementwise.relu_dx, elementwise.add_relu, elementwise.add_relu_dx, elementwise.tanh_dx),
    *(elementwise.sigmoid, elementwise.sigmoid_dx, elementwise.silu, elementwise.silu_dx),
    *(gelu.gelu, gelu.gelu_tanh, gelu.gelu_dx),
    *(linear.linear, linear.linear_dw, linear.linear_dx, reduce.column_sum),
    *(batchnorm_passes.batchnorm_statistics, batchnorm_passes.batchnorm),
    *(batchnorm_passes.batchnorm_sums, batchnorm_passes.batchnorm_dx),
    *(layernorm.layernorm, layernorm.layernorm_dw, layernorm.layernorm_dx),
    *(rmsnorm.rmsnorm, rotary.rotary, swiglu.swiglu, swiglu.swiglu_dx),
    *(softmax.softmax, softmax.softmax_dx, softmax_cross_entropy_dx),
    *(embedding.embedding, embedding.embedding_dw),
    *(compress.encode_bf16, compress.decode_bf16, compress.encode_int8, compress.decode_int8),
    *(compress.encode_fp16, compress.decode_fp16, compress.encode_sign, compress.decode_sign),
    *(compress.thin_product, compress.largest_places),
)

if C is not None:
    for each in SAME_ARGUMENTS:
        each.cpu(getattr(C, each.name))
    from . import adapters as adapters
