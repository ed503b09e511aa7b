"""Residual networks in float64 NumPy, one image at a time, written from the paper (He et al. 2015, table 1).

``w`` maps names of parameters and running statistics to arrays. Nothing of mpitrain is used.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def windows(image, size, stride, fill=0.0):
    """Return (OH, OW, C, size, size): the pixels under each place of a window, with a border of size // 2."""
    border = size // 2
    padded = np.pad(image, ((border, border), (border, border), (0, 0)), constant_values=fill)
    return sliding_window_view(padded, (size, size), axis=(0, 1))[::stride, ::stride]


def convolved(w, convolution, norm, image, stride):
    """Return an image after a convolution and a batch norm with its running statistics."""
    kernels = w[f"{convolution}.weight"]
    x = np.einsum("hwcij,ijco->hwo", windows(image, len(kernels), stride), kernels)
    scale = w[f"{norm}.weight"] / np.sqrt(w[f"{norm}.running_var"] + 1e-5)
    return (x - w[f"{norm}.running_mean"]) * scale + w[f"{norm}.bias"]


def block(w, name, x, strides):
    """Return an image after a block whose convolutions have these strides."""
    y = x
    for number, stride in enumerate(strides):
        y = np.maximum(y, 0)  # of the one before; the input of a block is not negative
        y = convolved(w, f"{name}.body.{3 * number}", f"{name}.body.{3 * number + 1}", y, stride)
    if f"{name}.shortcut.0.weight" in w:
        x = convolved(w, f"{name}.shortcut.0", f"{name}.shortcut.1", x, max(strides))
    return np.maximum(x + y, 0)


def resnet(w, image, blocks, bottleneck, early=False, small=False):
    """Return logits (K,) of an image (H, W, channels); ``early``, ``small``: strides as in halve_first and
    stride_in_1x1, the stem of small_images."""
    x, place = np.maximum(convolved(w, "0", "1", image, 1 if small else 2), 0), 3
    if not small:
        x, place = windows(x, 3, 2, -np.inf).max(axis=(3, 4)), 4
    for stage, count in enumerate(blocks):
        for number in range(count):
            stride = 2 if number == 0 and (stage > 0 or early) else 1
            strides = ((stride, 1, 1) if early else (1, stride, 1)) if bottleneck else (stride, 1)
            x = block(w, f"{place}", x, strides)
            place += 1
    return x.mean(axis=(0, 1)) @ w[f"{place + 1}.weight"] + w[f"{place + 1}.bias"]
