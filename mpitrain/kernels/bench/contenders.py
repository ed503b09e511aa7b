"""Contenders of a measurement: our kernels and a peer's on the same random matrices, as closures that only queue."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..gemm import Shape
from ..gemm_launch import launch_gemm, partial_bytes
from ..gemm_plan import GemmPlan
from ..ladder import Rung
from ..matrices import Matrices
from ..plan import ceil_div
from ..round_tf32 import PART_BYTES, rounded_bytes
from .stopwatch import Contender

BLOCK = 1 << 22  # random numbers drawn; larger matrices repeat them
PIECE = 8  # rows begin at multiples of 16 bytes, in bf16
MOST_ROWS = 64  # rows that are compared, at either end


class Peer(Protocol):
    """A library that multiplies (``device.cublas.Cublas``)."""

    version: str

    def multiply(
        self,
        sizes: tuple[int, int, int, int],
        a: Matrices,
        b: Matrices,
        out: Matrices,
        *,
        transpose_a: bool,
        transpose_b: bool,
        inputs: str,
        outputs: str,
    ) -> None:
        """Queue out = A B."""


class Contenders:
    """A factory of contenders that share their memory.

    Parameters
    ----------
    device : CudaDevice or a stand-in
    peer : Peer
    seed : int
    """

    def __init__(self, device: Any, peer: Peer, seed: int = 0):
        self.device, self.peer = device, peer
        drawn = np.random.default_rng(seed).standard_normal(BLOCK, np.float32)
        rounded = (drawn.view(np.uint32) >> 16).astype(np.uint16)  # truncated, not rounded: still random
        self._blocks: dict[str, np.ndarray] = {"fp32": drawn, "bf16": rounded}
        self._held: dict[str, Any] = {}
        self._outgrown: list[Any] = []  # still used by contenders made with it

    def ours(self, shape: Shape, made: GemmPlan) -> Contender:
        """Return our planned product, with the preparation of its factors."""
        a, b, out = self._matrices(shape)
        partials = self.memory("partials", max(1, partial_bytes(made, shape) // 4), np.float32)
        rounded = self.memory("rounded", rounded_bytes(made, shape, a, b) + PART_BYTES, np.uint8).data.ptr
        working = {"partials": partials.data.ptr, "rounded": rounded + -rounded % PART_BYTES}
        return lambda: launch_gemm(self.device, made, shape, a, b, out, **working)

    def theirs(self, shape: Shape) -> Contender:
        """Return the peer's."""
        a, b, out = self._matrices(shape)
        sizes = shape.m, shape.n, shape.k, shape.batch
        layout = {"transpose_a": shape.transpose_a, "transpose_b": shape.transpose_b}
        types = {"inputs": shape.inputs, "outputs": shape.outputs}
        return lambda: self.peer.multiply(sizes, a, b, out, **layout, **types)  # type: ignore[arg-type]

    def rung(self, shape: Shape, rung: Rung) -> Contender:
        """Return a rung of the ladder."""
        a, b, out = self._matrices(shape)
        return lambda: rung.run(self.device, a, b, out)

    def difference(self, shape: Shape, contender: Contender) -> float:
        """Return 1 - 2<x, y> / (<x, x> + <y, y>) of its result and the peer's, over the first and last rows."""
        found = []
        for each in (contender, self.theirs(shape)):
            out = self._out(shape)
            out.fill(0)
            each()
            rows = np.concatenate([self.device.to_host(out[: MOST_ROWS * shape.n]), self._last_rows(shape)])
            found.append(_as_float(rows))
        x, y = found
        norms = float(x @ x + y @ y)
        return abs(1 - 2 * float(x @ y) / norms) if norms and np.isfinite(norms) else 1.0

    def _last_rows(self, shape: Shape) -> np.ndarray:
        rows: np.ndarray = self.device.to_host(self._out(shape)[-MOST_ROWS * shape.n :])
        return rows

    def _matrices(self, shape: Shape) -> tuple[Matrices, Matrices, Matrices]:
        a = (shape.k, shape.m) if shape.transpose_a else (shape.m, shape.k)
        b = (shape.n, shape.k) if shape.transpose_b else (shape.k, shape.n)
        out = self._out(shape)
        result = Matrices(out.data.ptr, shape.m, shape.n, shape.n, shape.batch, shape.m * shape.n)
        return self._factor("a", a, shape), self._factor("b", b, shape), result

    def _out(self, shape: Shape) -> Any:
        size = shape.batch * shape.m * shape.n
        return self.memory(f"out {shape.outputs}", size, np.uint16 if shape.outputs == "bf16" else np.float32)

    def _factor(self, name: str, stored: tuple[int, int], shape: Shape) -> Matrices:
        rows, cols = stored
        ld = ceil_div(cols, PIECE) * PIECE
        kind = "bf16" if shape.inputs == "bf16" else "fp32"
        memory = self.random(name, shape.batch * rows * ld, kind)
        return Matrices(memory.data.ptr, rows, cols, ld, shape.batch, rows * ld if shape.batch > 1 else 0)

    def random(self, name: str, size: int, kind: str) -> Any:
        """Return ``size`` random numbers, fp32 or bf16 (as their bits): other ones as "a" than as "b"."""
        return self.memory(f"{name} {kind}", size, self._blocks[kind].dtype, self._fill)

    def _fill(self, name: str, memory: Any) -> None:
        """Write random numbers, other ones into a than into b."""
        block = np.roll(self._blocks[name.split()[1]], 1001 if name[0] == "a" else 0)
        for first in range(0, memory.size, BLOCK):
            part = memory[first : first + BLOCK]
            part[...] = self.device.from_host(block[: part.size])

    def memory(self, name: str, size: int, dtype: Any, fill: Callable[[str, Any], None] | None = None) -> Any:
        """Return the first ``size`` elements of memory held as ``name``; it grows if need be."""
        found = self._held.get(name)
        if found is None or found.size < size:
            found = self.device.empty((size,), dtype)
            if fill is not None:
                fill(name, found)
            self._outgrown.append(self._held.get(name))
            self._held[name] = found
        return found[:size]


def _as_float(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)
