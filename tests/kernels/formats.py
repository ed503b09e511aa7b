"""Floats of fewer bits, kept as bits or as the float32 that they stand for."""

import numpy as np


def to_bf16(x: np.ndarray) -> np.ndarray:
    """Return the 16 bits of the nearest bf16, ties to even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_tf32(x: np.ndarray) -> np.ndarray:
    """Return the nearest float of 10 fraction bits, ties away from zero."""
    return ((x.astype(np.float32).view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)
