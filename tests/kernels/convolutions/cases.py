"""Convolutions run by the kernels (conv2d_simt, conv2d_mma, and gemm_sum after them), with float64 NumPy as the oracle.

Images, filters and results lie between guards, NaN where nothing was written.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from mpitrain.kernels.convolution import KINDS, Convolution, record_of
from mpitrain.ops.conv2d import conv2d, conv2d_dw, conv2d_dx, plan_conv2d
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.arrays import Elements
from tests.kernels.formats import to_bf16
from tests.kernels.products.cases import ACTIVATIONS, ARGUMENTS, EPILOGUES, Variant

SLAB_OF_SUM = 32


@dataclass(frozen=True)
class Case:
    """One convolution, and what its epilogue does besides.

    ``part``: K in parts of so many; ``shift``: elements that the images lie off an aligned address.
    """

    conv: Convolution
    kernel: str = "conv2d_simt"
    bias: bool = False
    beta: float = 0.0
    part: int = 0
    moments: bool = False
    sums: bool = False
    shift: int = 0
    elementwise: bool = False
    seed: int = 0

    @property
    def variant(self) -> Variant:
        conv = self.conv
        return Variant("gemm_mma", epilogue=conv.epilogue, inputs=conv.inputs, outputs=conv.outputs)

    def macros(self) -> dict[str, int]:
        macros = {"CONVOLUTION": KINDS.index(self.conv.kind), "EPILOGUE": EPILOGUES.index(self.conv.epilogue)}
        if self.kernel != "conv2d_simt":
            macros |= {"INPUT_BF16": int(self.conv.inputs == "bf16"), "OUTPUT_BF16": int(self.conv.outputs == "bf16")}
            macros |= {"ELEMENTWISE": int(self.elementwise or not self.conv.in_chunks)}
        if self.moments:
            macros["COLUMN_MOMENTS"] = 1
        return macros

    def __str__(self) -> str:
        conv = self.conv
        sizes = f"{conv.images}x{conv.size[0]}x{conv.size[1]}x{conv.channels}-{conv.num_outputs}"
        window = "-".join(
            f"{a}{x[0]}.{x[1]}" for a, x in zip("kspd", (conv.kernel, conv.stride, conv.padding, conv.dilation))
        )
        return f"{conv.kind}-{conv.inputs}-{conv.outputs}-{sizes}-{window}-g{conv.groups}-{conv.epilogue}"


class Arrays:
    """The arrays of a case and what must come out."""

    def __init__(self, case: Case):
        self.case, conv = case, case.conv
        self.inputs, self.outputs = (Elements(int(t == "bf16"), case.seed) for t in (conv.inputs, conv.outputs))
        x_shape, y_shape = (conv.images, *conv.size, conv.channels), (conv.images, *conv.output, conv.num_outputs)
        w_shape = (*conv.kernel, conv.channels // conv.groups, conv.num_outputs)
        shapes = {"forward": (x_shape, w_shape, y_shape), "dx": (y_shape, w_shape, x_shape)}
        a_shape, b_shape, out_shape = shapes.get(conv.kind, (x_shape, y_shape, w_shape))
        self.a, a_value = self._factor(a_shape, case.shift)
        self.b, b_value = self._factor(b_shape, 0)
        self.out = self.outputs.room(*out_shape)
        rng = self.inputs.rng
        self.c, c_value = self.out, np.zeros(out_shape)
        if case.beta:
            self.c, c_value = self.outputs.draw(*out_shape)
        self.bias = rng.standard_normal(out_shape[3]).astype(np.float32)
        window = Window(conv.kernel, conv.stride, conv.padding, conv.dilation)
        plan = plan_conv2d(window, conv.size, conv.groups, conv.channels, conv.num_outputs)
        exact = functools.partial(_exact, conv.kind, out_shape, plan)
        self.expected = exact(a_value, b_value) + case.beta * c_value + case.bias * self.bias
        self.scale = exact(np.abs(a_value), np.abs(b_value)) + np.abs(case.beta * c_value) + np.abs(self.bias) + 1e-30
        self.expected = ACTIVATIONS.get(conv.epilogue, lambda x: x)(self.expected)
        self.pre = None
        if conv.epilogue == "relu_gradient":  # pre is the result of the ReLU
            self.pre, pre_value = self.outputs.draw(*out_shape)
            self.expected *= pre_value > 0
        m, n = out_shape[0] * out_shape[1] * out_shape[2], out_shape[3]
        self.rows, self.columns = m, n
        self.column_sums = self.outputs.room(2, m, n, dtype=np.float32)
        self.partials = self.outputs.room(64 if case.part else 1, m, n, dtype=np.float32)

    def _factor(self, shape: tuple[int, ...], shift: int) -> tuple[np.ndarray, np.ndarray]:
        size = int(np.prod(shape))
        stored = self.inputs.room(shift + size)[shift:].reshape(shape)
        values = self.inputs.rng.standard_normal(shape).astype(np.float32)
        stored[...] = to_bf16(values) if self.inputs.bf16 else values
        return stored, np.float64(self.case.variant.seen(values) if self.case.conv.inputs != "fp32" else values)

    def gemm(self, classes) -> bytes:
        """Return struct Gemm."""
        case, conv, record = self.case, self.case.conv, np.zeros((), ARGUMENTS)
        shape = conv.shape(classes)
        for name, array in (("a", self.a), ("b", self.b), ("c", self.c), ("out", self.out)):
            record[name] = array.ctypes.data
        record["pre"] = 0 if self.pre is None else self.pre.ctypes.data
        record["bias"] = self.bias.ctypes.data if case.bias else 0
        record["column_sums"] = self.column_sums.ctypes.data if case.moments or case.sums else 0
        record["partials"] = self.partials.ctypes.data
        out = conv.width * conv.groups
        record["a_batch"], record["b_batch"] = conv.depth, conv.num_outputs // conv.groups
        record["c_batch"] = record["out_batch"] = conv.width
        record["b_ld"], record["c_ld"], record["out_ld"] = conv.num_outputs, out, out
        record["m"], record["n"], record["k"], record["batch"] = shape.m, shape.n, shape.k, conv.groups
        record["k_split"] = case.part
        record["splits"] = max(1, -(-shape.k // case.part)) if case.part else 1
        record["alpha"], record["beta"] = 1, case.beta
        return record.tobytes()

    @property
    def memory(self) -> list[np.ndarray]:
        """Return all arrays that kernels may touch."""
        pre = [] if self.pre is None else [self.pre]
        return [self.a, self.b, self.c, self.out, self.bias, self.column_sums, self.partials, *pre]

    def error(self) -> float:
        """Return the largest error of the result, relative to the sum of absolute products."""
        got = self.outputs.value(self.out)
        error = np.max(np.abs(got - self.expected) / self.scale, initial=0)
        self.inputs.check_guards()
        self.outputs.check_guards()
        return float(error)

    def check_moments(self, slab: int) -> None:
        """Mean and squared differences of the slabs of the result, not yet rounded, in the layout of batchnorm.cu."""
        wide = 400 if self.case.conv.outputs == "bf16" else 1  # what is stored was rounded
        stored = self.outputs.value(self.out).reshape(self.rows, self.columns)
        slabs = -(-self.rows // slab)
        got = self.column_sums.reshape(-1)[: 2 * slabs * self.columns].reshape(slabs, 2, self.columns)
        for i in range(slabs):
            rows = stored[slab * i : slab * (i + 1)]
            np.testing.assert_allclose(got[i, 0], rows.mean(axis=0), rtol=wide * 1e-5, atol=wide * 1e-5)
            np.testing.assert_allclose(got[i, 1], rows.var(axis=0) * len(rows), rtol=wide * 1e-4, atol=wide * 1e-4)

    def check_all_moments(self, slab: int) -> None:
        """The same of all rows, merged: for slabs that are not rows below each other."""
        stored = self.outputs.value(self.out).reshape(self.rows, self.columns)
        slabs = -(-self.rows // slab)
        found = np.float64(self.column_sums.reshape(-1)[: 2 * slabs * self.columns])
        means, squares = found.reshape(slabs, 2, self.columns).swapaxes(0, 1)
        counts = np.minimum(slab, self.rows - slab * np.arange(slabs))[:, None]
        mean = (counts * means).sum(axis=0) / self.rows
        np.testing.assert_allclose(mean, stored.mean(axis=0), rtol=1e-5, atol=1e-5)
        squares = (squares + counts * (means - mean) ** 2).sum(axis=0)
        np.testing.assert_allclose(squares, stored.var(axis=0) * self.rows, rtol=1e-4, atol=1e-4)

    def check_sums(self, slab: int) -> None:
        stored = self.outputs.value(self.out).reshape(self.rows, self.columns)
        slabs, groups = -(-self.rows // slab), self.case.conv.groups
        got = self.column_sums.reshape(-1)[: slabs * self.columns].reshape(groups, slabs, -1).sum(axis=1).reshape(-1)
        atol = 4.0 if self.case.conv.outputs == "bf16" else 1e-3  # what is stored was rounded
        np.testing.assert_allclose(got, stored.sum(axis=0), rtol=1e-3, atol=atol)


def _exact(kind: str, shape: tuple[int, ...], plan, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.empty(shape)
    if kind == "forward":
        conv2d.numpy(a, b, None, out, plan)
    elif kind == "dx":
        conv2d_dx.numpy(a, b, out, plan)
    else:
        conv2d_dw.numpy(a, b, out, plan, False)
    return out


def run(case: Case, kernels: cpu.Kernels | None = None, **tile: int) -> float:
    """Run one case and return its error; moments and sums are checked."""
    kernels = kernels or cpu.build(f"{case.kernel}.cu", **case.macros(), **tile)
    arrays = Arrays(case)
    cut = launch(case, kernels, arrays)
    slab = SLAB_OF_SUM if cut else kernels.macro("WARP_M")
    if case.moments:
        arrays.check_moments(slab)
    if case.sums:
        arrays.check_sums(slab)
    return arrays.error()


def launch(case: Case, kernels: cpu.Kernels, arrays: Arrays) -> bool:
    """Launch the classes of a convolution, and gemm_sum where K is cut: then return True."""
    tile_m, tile_n, warp_m, warp_n = (kernels.macro(name) for name in ("TILE_M", "TILE_N", "WARP_M", "WARP_N"))
    options = {"memory": arrays.memory, "seed": case.seed}
    splits = 1
    for classes in case.conv.classes():
        gemm = arrays.gemm(classes)
        shape, product = case.conv.shape(classes), np.frombuffer(gemm, ARGUMENTS).reshape(())
        tiles, splits = -(-shape.m // tile_m) * -(-shape.n // tile_n), int(product["splits"])
        kernels.launch(
            case.kernel,
            grid=(tiles, splits, classes.num * case.conv.groups),
            block=(tile_m // warp_m * (tile_n // warp_n) * 32, 1, 1),
            shared_bytes=0 if case.kernel == "conv2d_simt" else kernels.macro("STAGES") * (tile_m + tile_n) * 128,
            arguments=[record_of(gemm, case.conv, classes)],
            **options,
        )
        if splits > 1:
            macros = {name: case.macros().get(name, 0) for name in ("EPILOGUE", "OUTPUT_BF16")}
            macros |= {"COLUMN_MOMENTS": 1} if case.moments else {}
            grid = -(-shape.m // 32), -(-shape.n // 128), case.conv.groups
            built = cpu.build("gemm_sum.cu", **macros)
            built.launch("gemm_sum", grid=grid, block=(256, 1, 1), arguments=[product], **options)
    return splits > 1


def of(kind: str, *sizes, **options) -> Convolution:
    return Convolution(kind, *sizes, **options)


def geometries(vector: int = 1) -> list[Convolution]:
    """Windows and sizes at which something changes; channels of a group are multiples of ``vector``."""
    v = vector
    return [
        of("forward", 2, (5, 7), v, v, (3, 3), (1, 1), (1, 1)),
        of("forward", 3, (9, 11), 2 * v, 3 * v, (3, 3), (2, 2), (1, 1)),
        of("forward", 1, (1, 1), v, 2 * v, (3, 3), (1, 1), (1, 1)),
        of("forward", 2, (12, 9), 9 * v, 20 * v, (1, 1), (2, 2)),
        of("forward", 2, (10, 13), 6 * v, 9 * v, (2, 4), (3, 4), (2, 3), (3, 2), groups=3),
        of("forward", 2, (16, 10), 2 * v, 4 * v, (4, 3), (4, 2), (3, 1), (4, 3), groups=2),
        of("forward", 1, (8, 8), v, v, (5, 5), (1, 1), (6, 4)),
        of("forward", 2, (6, 6), v, 2 * v, (2, 2), (5, 5), (4, 0)),
    ]


def each_kind(convs: list[Convolution], **changes) -> list[Convolution]:
    return [replace(conv, kind=kind, **changes) for kind in KINDS for conv in convs]
