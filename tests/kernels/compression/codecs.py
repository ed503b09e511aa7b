"""Launches of the codecs' kernels, and the numbers that they are tried on."""

import numpy as np

from mpitrain.ops import OPS
from mpitrain.ops.cuda.compress import BITS, FEEDBACK, TILE
from tests.kernels import cpu
from tests.kernels.arrays import NULL, i32, i64, launch

BLOCKS = {"bf16": 1, "fp16": 256, "sign": 256, "int8": 128}
PAYLOADS = {"fp16": 512, "sign": 32, "int8": 128}
FACTORS = 0.7, 0.3, 1.7  # whose products are not exact


def numbers(kind: str, n: int, seed: int) -> np.ndarray:
    """Return n numbers of one kind."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n).astype(np.float32)
    if kind == "ties":  # halves of int8 with the scale 1, halves of bf16, and many equal ones
        x = (rng.integers(-254, 255, n) / 2).astype(np.float32)
        x[::64] = 127
        x[1::3] = (x[1::3].view(np.uint32) & 0xFFFF0000 | 0x8000).view(np.float32)
    elif kind == "spread":
        x *= np.exp(20 * np.clip(rng.standard_normal(n), -4, 4)).astype(np.float32)
    elif kind == "denormals":
        x = (x * 1e-41).astype(np.float32)
    elif kind == "bad":
        places = rng.integers(0, max(1, n), n // 300 + 1)
        x[places[places < n]] = rng.choice([np.nan, np.inf, -np.inf])
    elif kind == "zeros":
        x[rng.random(n) < 0.9] = -0.0
    return x


KINDS = ["normal", "ties", "spread", "denormals", "bad", "zeros"]


def feedback(factors: tuple[float, float, float]) -> np.ndarray:
    return np.array(tuple((0, factor, 0) for factor in factors), FEEDBACK)


def options(codec: str) -> tuple[int, ...]:
    return (BLOCKS[codec],) if codec == "int8" else ()


def message_bytes(codec: str, n: int) -> int:
    return 2 * n if codec == "bf16" else -(-n // BLOCKS[codec]) * (4 + PAYLOADS[codec])


def encode(kernels: cpu.Kernels, codec: str, x, error, message, seed: int = 0) -> None:
    tail = i64(x.size), *map(i32, options(codec))
    launch(kernels, f"encode_{codec}", x, error if error.size else NULL, message, feedback(FACTORS), *tail, seed=seed)


def decode(kernels: cpu.Kernels, codec: str, message, y, add: bool, seed: int = 0) -> None:
    tail = i64(y.size), *map(i32, options(codec))
    launch(kernels, f"decode_{codec}", message, y, i32(add), *tail, seed=seed)


def oracle(name: str, *arguments) -> None:
    with np.errstate(all="ignore"):
        OPS[name].numpy(*arguments)


def largest(kernels: cpu.Kernels, u: np.ndarray, places: np.ndarray, parts: int = 3, seed: int = 0) -> None:
    """Launch what ``largest_places`` does, in so many parts."""
    bins, state = np.zeros(2048, np.int32), np.full(2, 77, np.int32)
    shift = sum(BITS)
    for turn, bits in enumerate(BITS):
        shift -= bits
        launch(kernels, "largest_digits", u, state, bins, i32(u.size), i32(shift), i32(bits), grid=2, seed=seed)
        launch(kernels, "largest_choose", state, bins, i32(bits), i32(0 if turn else places.size), grid=1, seed=seed)
    each = -(-u.size // (parts * TILE)) * TILE
    parts = -(-u.size // each)
    counts, sizes = np.full((parts, 2), 77, np.int32), (i32(u.size), i32(each))
    launch(kernels, "largest_count", u, state, counts, *sizes, grid=parts, seed=seed)
    launch(kernels, "largest_write", u, state, counts, places, *sizes, grid=parts, seed=seed)
