"""Matrix products as the kernels take them, with float64 NumPy as the oracle.

Every matrix of a case lies inside a larger buffer: leading dims exceed the rows, and what lies between and around is
NaN. A kernel that reads there spoils its result, and one that writes there is found out.
"""

from dataclasses import dataclass, replace

import numpy as np

from tests.kernels.cpu import Kernels

EPILOGUES = ["none", "bias", "bias_relu", "bias_gelu"]
POINTERS = ["a", "b", "c", "bias", "out", "pre"]
ARGUMENTS = np.dtype(
    [
        *((name, np.uint64) for name in POINTERS),
        *((f"{name}_batch", np.int64) for name in ("a", "b", "c", "out")),
        *((f"{name}_ld", np.int32) for name in ("a", "b", "c", "out")),
        *((name, np.int32) for name in "mnk"),
        ("alpha", np.float32),
        ("beta", np.float32),
    ],
    align=True,
)


@dataclass(frozen=True)
class Case:
    """One product. ``pad`` elements lie between rows, and matrices begin ``shift`` elements off an aligned address."""

    m: int
    n: int
    k: int
    batch: int = 1
    alpha: float = 1.0
    beta: float = 0.0
    pad: int = 0
    shift: int = 0
    keep_pre: bool = False
    in_place: bool = False
    seed: int = 0

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def random_case(seed: int, largest: int = 160) -> Case:
    """Draw a ragged case, aligned or not."""
    rng = np.random.default_rng(seed)
    m, n, k = (int(x) for x in rng.integers(1, [largest, largest, largest // 2]))
    case = Case(m, n, k, seed=seed, pad=int(rng.choice([0, 1, 3, 8])), shift=int(rng.choice([0, 0, 1, 4])))
    beta = float(rng.choice([0, 0.5, -1]))
    return replace(case, batch=int(rng.choice([1, 1, 3])), alpha=float(rng.choice([1, -0.75])), beta=beta)


# Shapes at which loops and edges change: nothing to sum, one of everything, tiles exactly, tiles and one more.
EDGES = [
    Case(1, 1, 1),
    Case(5, 3, 0, beta=0.5),
    Case(5, 3, 0),
    Case(128, 128, 64),
    Case(129, 127, 65),
    Case(2, 300, 8, pad=4),
    Case(300, 2, 33),
    Case(20, 30, 400),
    Case(64, 96, 40, beta=1.0, in_place=True, pad=8),
    Case(40, 36, 24, batch=2, keep_pre=True),
    Case(37, 21, 100, keep_pre=True, shift=1),
]


class Buffer:
    """Matrices of (batch, rows, cols) as views into a buffer of NaN; bf16 is kept as its 16 bits."""

    def __init__(self, shape: tuple[int, int, int], pad: int, shift: int, dtype: type):
        batch, rows, cols = shape
        self.ld = cols + pad
        self.stride = rows * self.ld + pad
        head = 64 + shift
        self._storage = np.full(head + batch * self.stride + 64, _nan(dtype), dtype)
        room = self._storage[head : head + batch * self.stride].reshape(batch, self.stride)[:, : rows * self.ld]
        self.values = room.reshape(batch, rows, self.ld)[:, :, :cols]
        self.address = self._storage.ctypes.data + head * self._storage.itemsize
        self._outside = np.ones(self._storage.size, bool)
        inside = self._outside[head : head + batch * self.stride].reshape(batch, self.stride)[:, : rows * self.ld]
        inside.reshape(batch, rows, self.ld)[:, :, :cols] = False

    def check_outside(self) -> None:
        outside = self._storage[self._outside]
        assert outside.tobytes() == np.full_like(outside, _nan(outside.dtype)).tobytes(), "written outside the matrix"


def _nan(dtype: type | np.dtype) -> float | int:
    return 0x7FFF if dtype == np.uint16 else np.nan


def to_bf16(x: np.ndarray) -> np.ndarray:
    """Return the 16 bits of the nearest bf16, ties to even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_tf32(x: np.ndarray) -> np.ndarray:
    """Return the nearest float of 10 fraction bits, ties away from zero."""
    return ((x.astype(np.float32).view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {"bias_relu": lambda x: np.maximum(x, 0), "bias_gelu": gelu_tanh}


@dataclass(frozen=True)
class Variant:
    """What a kernel was compiled for."""

    kernel: str  # gemm_simt or gemm_mma
    transpose_a: bool = False
    transpose_b: bool = False
    epilogue: str = "none"
    inputs: str = "fp32"  # fp32, tf32, bf16
    outputs: str = "fp32"

    @property
    def macros(self) -> dict[str, int]:
        macros = {
            "TRANSPOSE_A": int(self.transpose_a),
            "TRANSPOSE_B": int(self.transpose_b),
            "EPILOGUE": EPILOGUES.index(self.epilogue),
        }
        if self.kernel == "gemm_mma":
            macros |= {"INPUT_BF16": int(self.inputs == "bf16"), "OUTPUT_BF16": int(self.outputs == "bf16")}
        return macros

    def __str__(self) -> str:
        layout = "".join("NT"[t] for t in (self.transpose_a, self.transpose_b))
        return f"{layout}-{self.epilogue}-{self.inputs}-{self.outputs}"


def run(kernels: Kernels, variant: Variant, case: Case) -> float:
    """Run one case and return its error, relative to the sum of absolute products; NaN where the result has any."""
    rng = case.rng
    input_type = np.uint16 if variant.inputs == "bf16" else np.float32
    output_type = np.uint16 if variant.outputs == "bf16" else np.float32

    def matrix(shape: tuple[int, int, int], transposed: bool) -> tuple[Buffer, np.ndarray]:
        stored = (shape[0], shape[2], shape[1]) if transposed else shape
        buffer = Buffer(stored, case.pad, case.shift, input_type)
        values = rng.standard_normal(stored).astype(np.float32)
        buffer.values[:] = to_bf16(values) if variant.inputs == "bf16" else values
        seen = {"fp32": lambda x: x, "tf32": to_tf32, "bf16": lambda x: from_bf16(to_bf16(x))}[variant.inputs](values)
        return buffer, (seen.swapaxes(1, 2) if transposed else seen).astype(np.float64)

    shape = (case.batch, case.m, case.n)
    a, a_values = matrix((case.batch, case.m, case.k), variant.transpose_a)
    b, b_values = matrix((case.batch, case.k, case.n), variant.transpose_b)
    out, pre = (Buffer(shape, case.pad, case.shift, output_type) for _ in range(2))
    c = out if case.in_place else Buffer(shape, case.pad, case.shift, output_type)
    c_values = np.zeros(shape)
    if case.beta:
        drawn = rng.standard_normal(shape).astype(np.float32)
        c.values[:] = to_bf16(drawn) if variant.outputs == "bf16" else drawn
        c_values = np.float64(from_bf16(to_bf16(drawn)) if variant.outputs == "bf16" else drawn)
    bias = rng.standard_normal(case.n).astype(np.float32)

    arguments = np.zeros((), ARGUMENTS)
    for name, buffer in {"a": a, "b": b, "c": c, "out": out}.items():
        arguments[name], arguments[f"{name}_batch"], arguments[f"{name}_ld"] = buffer.address, buffer.stride, buffer.ld
    arguments["pre"] = pre.address if case.keep_pre else 0
    arguments["bias"] = bias.ctypes.data
    for name in ("m", "n", "k", "alpha", "beta"):
        arguments[name] = getattr(case, name)
    tile_m, tile_n = kernels.macro("TILE_M"), kernels.macro("TILE_N")
    kernels.launch(
        variant.kernel,
        grid=(-(-case.m // tile_m) * -(-case.n // tile_n), 1, case.batch),
        block=(tile_m // kernels.macro("WARP_M") * (tile_n // kernels.macro("WARP_N")) * 32, 1, 1),
        shared_bytes=kernels.macro("STAGES") * (tile_m + tile_n) * 128 if variant.kernel == "gemm_mma" else 0,
        arguments=[arguments],
        seed=case.seed,
    )

    expected_pre = case.alpha * (a_values @ b_values) + case.beta * c_values
    if variant.epilogue != "none":
        expected_pre += bias
    expected = ACTIVATIONS.get(variant.epilogue, lambda x: x)(expected_pre)
    scale = np.abs(case.alpha) * (np.abs(a_values) @ np.abs(b_values)) + np.abs(case.beta * c_values) + np.abs(bias)
    error = _error(out, expected, scale, variant)
    if case.keep_pre:
        error = np.maximum(error, _error(pre, expected_pre, scale, variant))
    for buffer in (a, b, c, out, pre):
        buffer.check_outside()
    return float(error)


def _error(buffer: Buffer, expected: np.ndarray, scale: np.ndarray, variant: Variant) -> np.floating:
    got = np.float64(from_bf16(buffer.values) if variant.outputs == "bf16" else buffer.values)
    return np.max(np.abs(got - expected) / (scale + 1e-30))
