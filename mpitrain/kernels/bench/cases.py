"""Products to measure: squares, and those of training.

A linear map of i inputs to o outputs over t rows is three products: forward (t, o, i), the gradient of its input
(t, i, o) with B transposed, and that of its weight (i, o, t) with A transposed. Convolutions are such maps over
the pixels of all images, with kernel x kernel x channels inputs (im2col).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..gemm import Shape

TOKENS = 4096  # four sequences of 1024
SQUARES = {"fp32": (4096,), "tf32": (4096, 8192), "bf16": (4096, 8192)}


class Linear(NamedTuple):
    """A layer: rows t, inputs i, outputs o."""

    name: str
    t: int
    i: int
    o: int


LAYERS = (
    Linear("GPT-2 124M qkv", TOKENS, 768, 2304),
    Linear("GPT-2 124M attention projection", TOKENS, 768, 768),
    Linear("GPT-2 124M up", TOKENS, 768, 3072),
    Linear("GPT-2 124M down", TOKENS, 3072, 768),
    Linear("GPT-2 124M head", TOKENS, 768, 50304),
    Linear("mlp hidden, batch 512", 512, 784, 128),
    Linear("mlp last, batch 512", 512, 128, 10),
    Linear("resnet20 stage 1, batch 256", 256 * 32 * 32, 144, 16),
    Linear("resnet20 stage 2, batch 256", 256 * 16 * 16, 288, 32),
    Linear("resnet20 stage 3, batch 256", 256 * 8 * 8, 576, 64),
)


class Products(NamedTuple):
    """What to measure."""

    squares: Mapping[str, Sequence[int]]
    layers: Sequence[Linear]

    def shapes(self) -> list[Shape]:
        """Return all of them."""
        found = [square(n, inputs) for inputs, sizes in self.squares.items() for n in sizes]
        return found + [s for inputs in self.squares for layer in self.layers for s in products(layer, inputs).values()]


ALL = Products(SQUARES, LAYERS)


def square(n: int, inputs: str) -> Shape:
    """Return n x n x n; out has the type of the inputs, as in training with that type throughout."""
    return Shape(n, n, n, inputs=inputs, outputs="bf16" if inputs == "bf16" else "fp32")


def products(layer: Linear, inputs: str) -> dict[str, Shape]:
    """Return the three products of ``layer``."""
    _, t, i, o = layer
    outputs = "bf16" if inputs == "bf16" else "fp32"
    return {
        "forward": Shape(t, o, i, inputs=inputs, outputs=outputs),
        "dx": Shape(t, i, o, transpose_b=True, inputs=inputs, outputs=outputs),
        "dw": Shape(i, o, t, transpose_a=True, inputs=inputs, outputs=outputs),
    }
