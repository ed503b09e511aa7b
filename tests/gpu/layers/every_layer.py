"""A case for every layer: its input, and how it is made. A layer without one fails test_everywhere.py."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mpitrain import layers
from mpitrain.layers import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    ColumnEmbeddings,
    Concat,
    Conv2d,
    ConvTranspose2d,
    DenseBlock,
    DotInteraction,
    DotProduct,
    Dropout,
    Embedding,
    Experts,
    FirstColumn,
    FirstToken,
    Flatten,
    GlobalAvgPool,
    HashedColumns,
    Layer,
    LayerNorm,
    Linear,
    LoRALinear,
    MaxPool2d,
    MixtureOfExperts,
    MultiHeadAttention,
    NeuralFactorization,
    OnNumbers,
    PatchEmbedding,
    PostNormBlock,
    PreNormBlock,
    Recompute,
    ReLU,
    Residual,
    RMSNorm,
    Sequential,
    SideBySide,
    Sigmoid,
    SiLU,
    SkipConcat,
    SwiGLU,
    Tanh,
    TiedHead,
    TokenEmbedding,
    UserHistory,
)


class Case(NamedTuple):
    make: Callable[[], Layer]
    shape: tuple[int, ...]
    integers: int = 0  # x is drawn below it, else from the normal distribution

    def x(self) -> np.ndarray:
        rng = np.random.default_rng(1)
        if self.integers:
            return rng.integers(0, self.integers, self.shape)
        return rng.standard_normal(self.shape).astype(np.float32)


def tied() -> Layer:
    """Tokens with positions, packed where number 3 ends a sequence, and logits by the same table."""
    tokens = TokenEmbedding(11, 8, num_positions=9, end_of_text=3)
    block = PreNormBlock(LayerNorm(8), MultiHeadAttention(8, 2, causal=True), RMSNorm(8), Linear(8, 8), dropout=0.2)
    return Sequential(tokens, block, TiedHead(tokens, bias=True))


def adapted(**options: Any) -> Layer:
    """A Linear of three parts, of which two have adapters."""
    layer = Linear(10, 21)
    layer.parts = ("q", 9), ("k", 6), ("v", 6)
    return LoRALinear(layer, 3, 0.5, parts=("q", "v"), **options)


def first_token() -> Layer:
    """Patches of an image, a block that normalizes last, and the vector that stands for the image."""
    block = PostNormBlock(MultiHeadAttention(8, 2), LayerNorm(8), Sequential(Linear(8, 8), GELU()), LayerNorm(8))
    return Sequential(PatchEmbedding((6, 4, 3), 2, 8), block, FirstToken())


CASES = {
    "relu": Case(ReLU, (5001,)),
    "gelu": Case(GELU, (5001,)),
    "gelu by tanh": Case(lambda: GELU(approximate=True), (5001,)),
    "silu": Case(SiLU, (5001,)),
    "swiglu": Case(SwiGLU, (9, 5, 66)),
    "tanh": Case(Tanh, (5001,)),
    "sigmoid": Case(Sigmoid, (5001,)),
    "batch norm": Case(lambda: BatchNorm2d(6), (8, 9, 7, 6)),
    "batch norm, many channels": Case(lambda: BatchNorm2d(300), (4, 5, 5, 300)),
    "batch norm and relu": Case(lambda: Sequential(BatchNorm2d(5), ReLU()), (3, 4, 5, 5)),
    "convolution and batch norm": Case(
        lambda: Sequential(Conv2d(4, 6, 3, padding=1), BatchNorm2d(6), ReLU()), (3, 7, 6, 4)
    ),
    "convolutions and relus": Case(
        lambda: Sequential(
            *(Conv2d(3, 4, 3, padding=1), ReLU(), Conv2d(4, 6, 3, 2, 1), ReLU(), Conv2d(6, 5, 1), ReLU()),
            *(Conv2d(5, 8, 3, padding=1), ReLU(), Conv2d(8, 8, 3, groups=8), ReLU(), Conv2d(8, 4, 1)),
        ),
        (2, 9, 8, 3),
    ),
    "residual of convolutions": Case(
        lambda: Residual(Sequential(Conv2d(4, 6, 3, padding=1), ReLU(), Conv2d(6, 4, 1)), None, ReLU()), (2, 5, 6, 4)
    ),
    "residual, batch norm": Case(
        lambda: Residual(
            Sequential(
                Conv2d(4, 6, 3, 2, 1, bias=False), BatchNorm2d(6), ReLU(), Conv2d(6, 6, 3, 1, 1), BatchNorm2d(6)
            ),
            Sequential(Conv2d(4, 6, 1, 2, bias=False), BatchNorm2d(6)),
            ReLU(),
        ),
        (3, 6, 6, 4),
    ),
    "residual, batch norm, plain": Case(
        lambda: Residual(Sequential(Conv2d(4, 4, 3, 1, 1), BatchNorm2d(4)), None, ReLU()), (2, 5, 6, 4)
    ),
    "residual, batch norm without relu": Case(
        lambda: Residual(Sequential(Conv2d(4, 4, 3, 1, 1), BatchNorm2d(4))), (2, 5, 6, 4)
    ),
    "layer norm": Case(lambda: LayerNorm(200), (70, 200)),
    "root mean square norm": Case(lambda: RMSNorm(200), (7, 10, 200)),
    "linear": Case(lambda: Linear(30, 20), (7, 5, 30)),
    "adapters": Case(adapted, (4, 5, 10)),
    "adapters with dropout": Case(lambda: adapted(dropout=0.2), (4, 5, 10)),
    "perceptron": Case(lambda: Sequential(Linear(20, 70), ReLU(), Linear(70, 30), GELU(), Linear(30, 10)), (300, 20)),
    "linear and gelu": Case(lambda: Sequential(Linear(20, 30), GELU()), (9, 20)),
    "residual": Case(lambda: Residual(Linear(40, 40), activation=ReLU()), (64, 40)),
    "residual, plain": Case(lambda: Residual(Tanh(), Linear(9, 9)), (6, 9)),
    "recomputed": Case(lambda: Recompute(Sequential(Linear(20, 30), Dropout(0.2), ReLU())), (9, 20)),
    "part": Case(lambda: Sequential(Linear(9, 20), ReLU(), Linear(20, 5)).part(0, 2), (6, 9)),
    "flatten": Case(lambda: Sequential(Flatten(), Linear(24, 5)), (3, 2, 4, 3)),
    "dropout": Case(lambda: Dropout(0.3), (9, 33)),
    "embedding": Case(lambda: Embedding(50, 40), (30, 40), 50),
    "max pool": Case(lambda: MaxPool2d(3, 2, 1), (2, 9, 8, 5)),
    "max pool and relu": Case(lambda: Sequential(MaxPool2d(2), ReLU()), (2, 8, 8, 5)),
    "mean pool": Case(lambda: AvgPool2d(3, 2, 1), (2, 9, 8, 5)),
    "global mean": Case(GlobalAvgPool, (3, 7, 6, 5)),
    "convolution": Case(lambda: Conv2d(5, 9, 3, padding=1), (2, 8, 7, 5)),
    "convolution, strided": Case(lambda: Conv2d(4, 6, (3, 5), (2, 1), (1, 2)), (2, 9, 8, 4)),
    "convolution of pixels": Case(lambda: Conv2d(7, 5, 1, bias=False), (2, 5, 6, 7)),
    "convolution in groups": Case(lambda: Conv2d(6, 9, 3, padding=1, groups=3), (2, 7, 6, 6)),
    "convolution, depthwise": Case(lambda: Conv2d(6, 6, 3, padding=1, groups=6), (2, 7, 6, 6)),
    "convolution, dilated": Case(lambda: Conv2d(4, 6, 3, padding=2, dilation=2), (2, 8, 7, 4)),
    "transposed convolution": Case(lambda: ConvTranspose2d(6, 4, 2), (2, 5, 6, 6)),
    "transposed convolution, overlapping": Case(lambda: ConvTranspose2d(5, 3, 3, 2, 1), (2, 5, 6, 5)),
    "skip by concatenation": Case(lambda: SkipConcat(Sequential(MaxPool2d(2), ConvTranspose2d(4, 5, 2))), (2, 5, 7, 4)),
    "attention": Case(lambda: MultiHeadAttention(24, 3), (2, 19, 24)),
    "attention, causal": Case(lambda: MultiHeadAttention(20, 4, causal=True), (5, 33, 20)),
    "attention, shared keys": Case(lambda: MultiHeadAttention(24, 6, causal=True, num_kv_heads=2), (3, 19, 24)),
    "attention, dropout": Case(lambda: MultiHeadAttention(12, 3, causal=True, dropout=0.3), (4, 9, 12)),
    "attention, rotary": Case(lambda: MultiHeadAttention(24, 4, num_kv_heads=1, rotary=100.0), (2, 9, 24)),
    "tokens, tied head": Case(tied, (4, 9), 11),
    "patches, first token": Case(first_token, (3, 6, 4, 3)),
    "experts": Case(lambda: MixtureOfExperts(Experts(5, 20, 30, GELU(approximate=True)), 2), (3, 40, 20)),
    "experts, balanced by bias": Case(
        lambda: MixtureOfExperts(Experts(5, 20, 30, SwiGLU(), False), 1, balance="bias"), (3, 40, 20)
    ),
    "branches": Case(lambda: Concat(Linear(9, 4), Sequential(Linear(9, 5), ReLU())), (6, 9)),
    "dense block": Case(
        lambda: DenseBlock(*(Sequential(BatchNorm2d(c), ReLU(), Conv2d(c, 3, 3, padding=1)) for c in (4, 7)), growth=3),
        (2, 5, 6, 4),
    ),
    "mean pool, without padding": Case(lambda: AvgPool2d(3, 2, 1, count_include_pad=False), (2, 9, 8, 5)),
    "columns": Case(lambda: ColumnEmbeddings((7, 5), 3), (30, 2), 5),
    "hashed columns": Case(lambda: Sequential(HashedColumns((50, 5), 7), ColumnEmbeddings((7, 5), 3)), (30, 2), 5),
    "interactions": Case(lambda: Sequential(Linear(9, 12), DotInteraction(4, 3)), (30, 9)),
    "numbers": Case(lambda: OnNumbers(Sequential(Linear(4, 3), ReLU()), 4), (30, 9)),
    "factors": Case(lambda: Sequential(ColumnEmbeddings((7, 7), 4), DotProduct(3)), (30, 2), 7),
    "factors, two outputs": Case(lambda: Sequential(Linear(5, 6), DotProduct(3, biases=False, num_outputs=2)), (30, 5)),
    "side by side": Case(lambda: SideBySide(Linear(4, 3), Linear(5, 2), 4), (30, 9)),
    "neural factors": Case(
        lambda: Sequential(Linear(5, 14), NeuralFactorization(3, Sequential(Linear(8, 4), ReLU()))), (30, 5)
    ),
    "history": Case(lambda: UserHistory(Embedding(9, 4), Embedding(9, 3)), (6, 5), 9),
    "first column": Case(lambda: Sequential(FirstColumn(), Embedding(9, 4)), (6, 5), 9),
    "attention, one head": Case(lambda: MultiHeadAttention(9, 1, bias=False), (3, 7, 9)),
}


def all_layers() -> set[type[Layer]]:
    """Return the layers of the package that can be made, fused ones included."""
    for module in pkgutil.walk_packages(layers.__path__, f"{layers.__name__}."):
        importlib.import_module(module.name)
    ours = {each for each in _below(Layer) if each.__module__.startswith(f"{layers.__name__}.")}
    return {each for each in ours if not each.__abstractmethods__ and not each.__name__.startswith("_")}


def _below(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def layers_of(case: Case) -> set[type[Layer]]:
    """Return the kinds of layers in a case, as written and as they run."""
    layer = case.make()
    return {type(each) for each in layer.layers()} | {type(each) for _, each in layer.running()}
