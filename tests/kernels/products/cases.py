"""Matrix products as the kernels take them, with float64 NumPy as the oracle.

Every matrix of a case lies inside a larger buffer: leading dims exceed the rows, and what lies between and around is
NaN. A kernel that reads there spoils its result, and one that writes there is found out.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from tests.kernels.formats import from_bf16, to_bf16, to_tf32

EPILOGUES = ["none", "relu", "gelu", "gelu_tanh", "relu_gradient", "gelu_gradient", "gelu_tanh_gradient"]
POINTERS = ["a", "b", "c", "bias", "out", "pre", "column_sums", "partials"]
ARGUMENTS = np.dtype(
    [
        *((name, np.uint64) for name in POINTERS),
        *((f"{name}_batch", np.int64) for name in ("a", "b", "c", "out")),
        *((f"{name}_ld", np.int32) for name in ("a", "b", "c", "out")),
        *((name, np.int32) for name in ("m", "n", "k", "batch", "splits", "k_split")),
        ("alpha", np.float32),
        ("beta", np.float32),
    ],
    align=True,
)


@dataclass(frozen=True)
class Case:
    """One product. ``pad`` elements lie between rows, and matrices begin ``shift`` elements off an aligned address.

    K is cut into parts of ``part``, if given; by gemm_wgmma it is shared out to ``workers`` clusters, if that is given
    (stream-K). With ``sum_columns`` the column sums of what is written are asked for.
    """

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
    bias: bool = True
    part: int = 0
    workers: int = 0
    sum_columns: bool = False
    seed: int = 0

    @property
    def splits(self) -> int:
        return max(1, -(-self.k // self.part)) if self.part else 1

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def random_case(seed: int, largest: int = 160) -> Case:
    """Draw a ragged case, aligned or not."""
    rng = np.random.default_rng(seed)
    m, n, k = (int(x) for x in rng.integers(1, [largest, largest, largest // 2]))
    case = Case(m, n, k, seed=seed, pad=int(rng.choice([0, 1, 3, 8])), shift=int(rng.choice([0, 0, 1, 4])))
    beta = float(rng.choice([0, 0.5, -1]))
    case = replace(
        case, bias=bool(rng.integers(2)), part=int(rng.choice([0, 0, 64])), sum_columns=bool(rng.integers(2))
    )
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
    Case(37, 21, 100, keep_pre=True, shift=1, bias=False),
    Case(65, 70, 300, part=64, batch=2, sum_columns=True, pad=3, keep_pre=True, beta=0.5),
    Case(200, 132, 130, part=128, sum_columns=True, alpha=0.5),
    Case(200, 33, 70, batch=2, sum_columns=True),
    Case(72, 136, 200, sum_columns=True),  # rows at multiples of 16 bytes in every layout and type, as in the next two
    Case(66, 98, 194, pad=6, beta=0.5, keep_pre=True),
    Case(130, 10, 450, pad=6, part=256, sum_columns=True),
]


class Buffer:
    """Matrices of (batch, rows, cols) as views into a buffer of NaN; bf16 is kept as its 16 bits."""

    def __init__(self, shape: tuple[int, int, int], pad: int, shift: int, dtype: type, guard: int = 64):
        batch, rows, cols = shape
        self.ld = cols + pad
        self.stride = rows * self.ld + pad
        head = 64 + shift
        self._storage = np.full(head + batch * self.stride + guard, _nan(dtype), dtype)
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


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x * np.sqrt(0.5)))


ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "gelu": gelu, "gelu_tanh": gelu_tanh}


def slope(name: str, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return the derivative of an activation at x, by central differences where it is smooth."""
    if name == "relu":
        return np.float64(x > 0)
    return (ACTIVATIONS[name](x + step) - ACTIVATIONS[name](x - step)) / (2 * step)


@dataclass(frozen=True)
class Variant:
    """The options that a kernel was compiled with."""

    kernel: str  # gemm_simt, gemm_mma or gemm_wgmma
    transpose_a: bool = False
    transpose_b: bool = False
    epilogue: str = "none"
    inputs: str = "fp32"  # fp32, tf32, bf16
    outputs: str = "fp32"
    cluster: int = 1  # gemm_wgmma: blocks that share B
    tile: tuple[tuple[str, int], ...] = ()  # macros

    @property
    def macros(self) -> dict[str, int]:
        macros = {
            "TRANSPOSE_A": int(self.transpose_a),
            "TRANSPOSE_B": int(self.transpose_b),
            "EPILOGUE": EPILOGUES.index(self.epilogue),
        }
        if self.kernel == "gemm_wgmma":
            macros |= {"CLUSTER": self.cluster, **dict(self.tile)}
        if self.kernel != "gemm_simt":
            macros |= {"INPUT_BF16": int(self.inputs == "bf16"), "OUTPUT_BF16": int(self.outputs == "bf16")}
        return macros

    def seen(self, x: np.ndarray) -> np.ndarray:
        """Return what the kernel multiplies in place of x."""
        if self.kernel == "gemm_wgmma" and self.inputs == "tf32":
            return (x.view(np.uint32) & 0xFFFFE000).view(np.float32)  # the hardware cuts, and nobody rounds before it
        return {"fp32": lambda x: x, "tf32": to_tf32, "bf16": lambda x: from_bf16(to_bf16(x))}[self.inputs](x)

    def __str__(self) -> str:
        layout = "".join("NT"[t] for t in (self.transpose_a, self.transpose_b))
        tile = "".join(f"-{value}" for _, value in self.tile)
        cluster = f"-cluster{self.cluster}" * (self.cluster > 1)
        return f"{layout}-{self.epilogue}-{self.inputs}-{self.outputs}{cluster}{tile}"


class Product:
    """The matrices of one case, their arguments and what must come out."""

    def __init__(self, variant: Variant, case: Case, slab: int, num_partials: int = 0):
        self.variant, self.case = variant, case
        self.rng = case.rng
        shape = (case.batch, case.m, case.n)
        self.a, a_values = self._factor((case.batch, case.m, case.k), variant.transpose_a)
        self.b, b_values = self._factor((case.batch, case.k, case.n), variant.transpose_b)
        self.out, self.pre = self._output(shape), self._output(shape)
        self.c = self.out if case.in_place else self._output(shape)
        c_values = self._draw(self.c) if case.beta else np.zeros(shape)
        self.bias = self.rng.standard_normal(case.n).astype(np.float32)
        self.slab = slab
        self.column_sums = Buffer((case.batch, -(-case.m // slab), case.n), 0, 0, np.float32)
        partials = (1, 1, num_partials) if num_partials else (case.splits * case.batch, case.m, case.n)
        self.partials = Buffer(partials, 0, 0, np.float32, 64 + num_partials)

        self.expected_pre = case.alpha * (a_values @ b_values) + case.beta * c_values + case.bias * self.bias
        self.expected = self._finished()
        scale = np.abs(case.alpha) * (np.abs(a_values) @ np.abs(b_values)) + np.abs(case.beta * c_values)
        self.scale = scale + np.abs(self.bias) + 1e-30

    def _finished(self) -> np.ndarray:
        name = self.variant.epilogue.removesuffix("_gradient")
        if name != self.variant.epilogue:
            return self.expected_pre * slope(name, self._draw(self.pre))
        return ACTIVATIONS.get(name, lambda x: x)(self.expected_pre)

    def _factor(self, shape: tuple[int, int, int], transposed: bool) -> tuple[Buffer, np.ndarray]:
        stored = (shape[0], shape[2], shape[1]) if transposed else shape
        inputs = self.variant.inputs
        buffer = Buffer(stored, self.case.pad, self.case.shift, np.uint16 if inputs == "bf16" else np.float32)
        values = self.rng.standard_normal(stored).astype(np.float32)
        buffer.values[:] = to_bf16(values) if inputs == "bf16" else values
        seen = self.variant.seen(values)
        return buffer, (seen.swapaxes(1, 2) if transposed else seen).astype(np.float64)

    def _output(self, shape: tuple[int, int, int]) -> Buffer:
        dtype = np.uint16 if self.variant.outputs == "bf16" else np.float32
        return Buffer(shape, self.case.pad, self.case.shift, dtype)

    def _draw(self, buffer: Buffer) -> np.ndarray:
        """Fill an output with random numbers and return them."""
        drawn = self.rng.standard_normal(buffer.values.shape).astype(np.float32)
        as_bf16 = self.variant.outputs == "bf16"
        buffer.values[:] = to_bf16(drawn) if as_bf16 else drawn
        return np.float64(from_bf16(to_bf16(drawn)) if as_bf16 else drawn)

    @property
    def memory(self) -> list[np.ndarray]:
        """The arrays to which the record points."""
        buffers = (self.a, self.b, self.c, self.out, self.pre, self.column_sums, self.partials)
        return [self.bias, *(buffer.values for buffer in buffers)]

    @property
    def keeps_pre(self) -> bool:
        return self.case.keep_pre and self.variant.epilogue in ACTIVATIONS

    def arguments(self) -> np.ndarray:
        """Return the record that kernels take."""
        case, arguments = self.case, np.zeros((), ARGUMENTS)
        for name in ("a", "b", "c", "out"):
            buffer = getattr(self, name)
            arguments[name], arguments[f"{name}_batch"], arguments[f"{name}_ld"] = (
                buffer.address,
                buffer.stride,
                buffer.ld,
            )
        if self.keeps_pre or self.variant.epilogue.endswith("_gradient"):
            arguments["pre"] = self.pre.address
        arguments["bias"] = self.bias.ctypes.data if case.bias else 0
        arguments["column_sums"] = self.column_sums.address if case.sum_columns else 0
        arguments["partials"] = self.partials.address if case.splits > 1 or case.workers else 0
        for name in ("m", "n", "k", "batch", "splits", "alpha", "beta"):
            arguments[name] = getattr(case, name)
        arguments["k_split"] = case.part
        return arguments

    def error(self) -> float:
        """Return the error relative to the sum of absolute products; NaN where a result has any."""
        error = self._error(self.out, self.expected)
        if self.keeps_pre:
            error = np.maximum(error, self._error(self.pre, self.expected_pre))
        if self.case.sum_columns:
            sums, scale = self.expected.sum(axis=1), self.scale.sum(axis=1)
            got = self.column_sums.values.sum(axis=1, dtype=np.float64)
            error = np.maximum(error, np.max(np.abs(got - sums) / scale))
        for buffer in (self.a, self.b, self.c, self.out, self.pre, self.column_sums, self.partials):
            buffer.check_outside()
        return float(error)

    def _error(self, buffer: Buffer, expected: np.ndarray) -> np.floating:
        got = np.float64(from_bf16(buffer.values) if self.variant.outputs == "bf16" else buffer.values)
        return np.max(np.abs(got - expected) / self.scale)
