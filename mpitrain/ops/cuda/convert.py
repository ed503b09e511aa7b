"""Conversion between fp32 and bf16 on a GPU: one launch."""

from typing import Any

import numpy as np

from ...device import device_of, is_bf16
from ...kernels.kernel import kernel
from .. import convert as ops
from .launch import loop, size_of

TO_BF16, TO_FP32 = kernel("cast_bf16.cu", name="to_bf16"), kernel("cast_bf16.cu", name="to_fp32")


@ops.convert.cuda
def convert(x: Any, y: Any) -> bool:
    """One launch."""
    if not (x.flags.c_contiguous and y.flags.c_contiguous):
        return False
    if x.dtype == np.float32 and is_bf16(y):
        loop(device_of(x), TO_BF16, x.size, (x, y, size_of(x)))
    elif is_bf16(x) and y.dtype == np.float32:
        loop(device_of(x), TO_FP32, x.size, (x, y, size_of(x)))
    else:
        return False
    return True
