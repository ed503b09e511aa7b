"""Types of the elements of tensors in safetensors files."""

import numpy as np

DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "U16": "u2", "U8": "u1"}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
