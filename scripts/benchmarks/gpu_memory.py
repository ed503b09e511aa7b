"""Layers and updates that only move memory, beside a copy: a part of scripts/bench gpu (gpu_part.py: the command line).

A row gives the bytes that must be moved at least (each input read once, each result written once), the time, and the
share of the bandwidth of a large copy that follows. Forward and backward are in one time, as training calls them.
"""

import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gpu_part import Part, open_part

from mpitrain import optim
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.kernels.bench.stopwatch import Stopwatch
from mpitrain.layers import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MaxPool2d,
    ReLU,
    RMSNorm,
    Sequential,
    SwiGLU,
)
from mpitrain.losses import SoftmaxCrossEntropy

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A layer and its traffic.

    Attributes
    ----------
    moved : float
        Elements that are moved for each element of the input, forward and backward: x is read and y written, then x or
        y and dy are read and dx written.
    """

    name: str
    make: Callable[[], Any]
    shape: tuple[int, ...]
    moved: float


def cases(small: bool) -> list[Case]:
    """Return all layers; a few elements each in a dry run."""
    tokens, image = ((6, 24), (2, 6, 6, 8)) if small else ((16384, 768), (64, 56, 56, 64))
    long = (2, 8200) if small else (1024, 16384)
    features, channels = tokens[-1], image[-1]
    return [
        Case("ReLU", ReLU, tokens, 5),
        Case("GELU", lambda: GELU(approximate=True), tokens, 5),
        Case("SwiGLU", SwiGLU, tokens, 4),  # half of the results
        Case("layer norm", lambda: LayerNorm(features), tokens, 5),
        Case("RMS norm", lambda: RMSNorm(features), tokens, 5),
        Case("dropout", lambda: Dropout(0.1), tokens, 4),  # the mask is drawn again
        Case("batch norm, ReLU", lambda: Sequential(BatchNorm2d(channels), ReLU()), image, 8),  # two passes each way
        Case("max pool 3x3/2", lambda: MaxPool2d(3, 2, 1), image, 2.5),
        Case("max pool 3x3/1", lambda: MaxPool2d(3, 1, 1), image, 4),
        Case("mean pool 2x2", lambda: AvgPool2d(2), image, 2.5),
        Case("global mean", GlobalAvgPool, image, 2),
        Case("depthwise conv 3x3", lambda: Conv2d(channels, channels, 3, padding=1, groups=channels), image, 6),
        Case("layer norm of long rows", lambda: LayerNorm(long[-1]), long, 5),
    ]


def main() -> int:
    part, failed = open_part("memory-bound layers cannot be measured"), []
    part.write(measure(part, failed))
    return 1 if failed else 0


def measure(part: Part, failed: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each layer, loss and optimizer; the names of those that fail are appended to ``failed``."""
    device, watch = part.device, Stopwatch(part.device, part.flush_bytes)
    rate = watch.copy_rate(3 if part.small else 20)
    for precision in ("fp32", "bf16"):
        device.precision = precision
        size = device.activation_dtype.itemsize
        for name, make, num_bytes in works(part.small, device, size):
            if part.over():
                return
            try:
                (seconds,) = watch.medians([make()], part.repeat)
            except Exception:  # the others are measured all the same
                print(f"{precision} {name} failed:\n{traceback.format_exc()}", flush=True)
                failed.append(name)
                continue
            share = num_bytes / seconds / rate
            print(f"{precision} {name}: {1e6 * seconds:.0f} us, {share:.0%} of a copy's bandwidth", flush=True)
            yield {"name": name, "precision": precision, "bytes": num_bytes, "us": 1e6 * seconds, "share": share}


def works(small: bool, device: Any, size: int) -> Iterator[tuple[str, Callable[[], Step], float]]:
    """Yield names, makers of steps, and least bytes, for activations of ``size`` bytes."""
    for case in cases(small):
        yield case.name, lambda case=case: layer_step(case, device), case.moved * math.prod(case.shape) * size
    rows, classes = (8, 50) if small else (4096, 50304)
    yield "cross-entropy", lambda: loss_step(rows, classes, device), 2.0 * rows * classes * size
    if size == 4:
        numbers = 5000 if small else 1 << 25
        for name, num_bytes in (("sgd:momentum=0.9", 20), ("adamw", 28)):
            yield f"{name} update", lambda name=name: update_step(name, numbers, device), float(num_bytes * numbers)


def layer_step(case: Case, device: Any) -> Step:
    """Return forward and backward of a layer."""
    layer, ctx = case.make(), Context(device=device)
    arena = Arena(layer, device=device)
    x = _random(case.shape, device, 0)
    dy = _random(layer.forward(x, ctx).shape, device, 1)

    def step() -> None:
        arena.begin_step()
        layer.forward(x, ctx)
        layer.backward(dy, ctx)

    return step


def loss_step(rows: int, classes: int, device: Any) -> Step:
    """Return the loss of logits and its gradient."""
    loss, ctx, logits = SoftmaxCrossEntropy(), Context(device=device), _random((rows, classes), device, 0)
    targets = device.from_host(np.random.default_rng(1).integers(0, classes, rows))

    def step() -> None:
        loss.forward(logits, targets, ctx)
        loss.backward(ctx)

    return step


def update_step(name: str, numbers: int, device: Any) -> Step:
    """Return an optimizer's update of so many weights, with gradients of any value."""
    side = max(1, math.isqrt(numbers))
    arena = Arena(Linear(side, side), device=device)
    arena.gradients[...] = _random(arena.gradients.shape, device, 0, np.float32)
    optimizer = optim.build(name, arena)
    return lambda: optimizer.step(1e-3)


def _random(shape: Sequence[int], device: Any, seed: int, dtype: Any = None) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return device.from_host(values.astype(device.activation_dtype if dtype is None else dtype))


if __name__ == "__main__":
    sys.exit(main())
