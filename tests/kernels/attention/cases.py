"""Queries, keys and values as the fused kernels of attention take them, and what they must make of them (float64)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mpitrain.kernels.attention import DECODE_THREADS, DKDV, DQ, FORWARD, Tile, decoding
from mpitrain.kernels.plan import Launch
from mpitrain.ops import OPS
from mpitrain.ops.attention import Block, place_of
from mpitrain.ops.cuda.attention_record import Mask, attention_record
from mpitrain.ops.dropout import Masks
from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, i32

RESULTS = ("y", "log_sum_exp", "dq", "dk", "dv")
TOLERANCE = {0: 4e-3, 1: 2.5e-2}  # of tf32 and bf16 factors, by ELEMENT_BF16


class Case(NamedTuple):
    """Sizes, masks and layout.

    ``key``, ``query`` and ``after`` place keys and queries in a longer row, of which ``segments`` are the lengths of
    sequences in each sample. ``apart`` are the numbers between tokens beside those of the heads: 4 bytes off alignment
    where odd.
    """

    samples: int = 1
    heads: int = 1
    queries: int = 1
    keys: int = 1
    size: int = 64
    group: int = 1
    causal: bool = False
    lengths: tuple[int, ...] | None = None
    segments: tuple[tuple[int, ...], ...] | None = None
    dropout: float = 0.0
    counters: bool = False
    query: int | None = None
    key: int = 0
    after: int = 0
    apart: int = 8
    scale: float = 0.0  # 1 / sqrt(D)
    spread: float = 1.0  # of q and k

    @property
    def block(self) -> Block | None:
        if self.query is None:
            return None
        length = max(self.key + self.keys, self.query + self.queries) + self.after
        return Block(self.query, self.key, length, 1, self.heads + 3)


class Inputs:
    """Arrays with guards, and in float64."""

    def __init__(self, case: Case, bf16: int, seed: int = 0):
        self.case, self.elements, self.statistics = case, Elements(bf16, seed), Elements(0, seed + 1)
        heads, kv_heads = case.heads, case.heads // case.group
        q, k, v = self._packed((heads, case.queries), (kv_heads, case.keys), (kv_heads, case.keys))
        self.arrays = {"q": q, "k": k, "v": v, "dy": self._packed((heads, case.queries))[0]}
        for name, scale in (("q", case.spread), ("k", case.spread), ("v", 1), ("dy", 1)):
            array = self.arrays[name]
            array[...] = self.elements.draw(*array.shape, scale=scale)[0]
        self.wide = {name: self.elements.value(array) for name, array in self.arrays.items()}
        self.arrays["y"] = self._packed((heads, case.queries))[0]
        gradients = self._packed((heads, case.queries), (kv_heads, case.keys), (kv_heads, case.keys))
        self.arrays |= dict(zip(("dq", "dk", "dv"), gradients, strict=True))
        shape = case.samples, heads, case.queries
        self.log_sum_exp, self.delta = (self.statistics.room(*shape, dtype=np.float32) for _ in range(2))
        self.scale = case.scale or case.size**-0.5
        place = place_of(case.block, q, k)
        lengths = None if case.lengths is None else np.array(case.lengths)
        segments = None
        if case.segments is not None:
            segments = np.array([np.repeat(3 * np.arange(len(each)) - 4, each) for each in case.segments])
        masks = None
        if case.dropout:
            position = (seed, 3, 2**35, 2**33)
            self.counters = np.array(position[2:])
            masks = Masks(case.dropout, position)
        stale = masks and masks._replace(position=(*masks.position[:2], 7, 9), counters=self.counters)
        self.mask = Mask(case.causal, lengths, segments, stale if case.counters else masks, place)
        self.how = self.scale, case.causal, lengths, segments, masks, case.block

    def _packed(self, *parts: tuple[int, int]) -> list[np.ndarray]:
        """Return views (N, heads, tokens, D) of the rows of one array, side by side."""
        case = self.case
        tokens = max(count for _, count in parts)
        whole = self.elements.room(case.samples, tokens, sum(heads for heads, _ in parts) * case.size + case.apart)
        found, first = [], 0
        for heads, count in parts:
            rows = whole[:, :count, first : first + heads * case.size]
            found.append(rows.reshape(case.samples, count, heads, case.size).swapaxes(1, 2))
            assert np.shares_memory(found[-1], whole)
            first += heads * case.size
        return found

    def record(self, **more: Any) -> np.ndarray:
        """Return the record of these arrays."""
        names = {**self.arrays, "delta": self.delta} | more
        q, k = names.pop("q"), names.pop("k")
        return attention_record(self.scale, self.mask, q, k, self.log_sum_exp, **names)

    @property
    def memory(self) -> list[np.ndarray]:
        """The arrays to which the record points (for a launch on a GPU)."""
        masks = [x for x in (*self.mask[1:3], getattr(self, "counters", None)) if x is not None]
        return [*self.arrays.values(), self.log_sum_exp, self.delta, *masks]

    def run(self, kernels: cpu.Kernels, name: str, plan: Launch, *more: np.ndarray, seed: int = 0) -> None:
        """Launch a kernel that takes the record, and ``more`` arguments."""
        how = {"grid": plan.grid, "block": plan.block, "shared_bytes": plan.shared_bytes, "seed": seed}
        kernels.launch(name, arguments=[self.record(), *more], memory=self.memory, **how)

    def run_tiles(self, kernels: cpu.Kernels, name: str, tile: Tile, rows: int, heads: int, seed: int = 0) -> None:
        """Launch a kernel over tiles of ``rows`` tokens."""
        self.run(kernels, name, tile.launch(rows, heads * self.case.samples), seed=seed)

    def expected(self) -> dict[str, np.ndarray]:
        """Return all results of the NumPy functions; delta too."""
        q, k, v, dy = (self.wide[name] for name in ("q", "k", "v", "dy"))
        y, dq, dk, dv, logs = (np.empty(x.shape) for x in (q, q, k, v, self.log_sum_exp))
        OPS["attention"].numpy(q, k, v, y, logs, *self.how)
        OPS["attention_dx"].numpy(dy, q, k, v, logs, dq, dk, dv, *self.how)
        return dict(zip(RESULTS, (y, logs, dq, dk, dv), strict=True)) | {"delta": (y * dy).sum(axis=3)}

    def check(self, *names: str, tolerance: float = 1.0) -> None:
        """Compare results, and look at the guards."""
        expected = self.expected()
        for name in names:
            found = getattr(self, name, None)
            found = self.elements.value(self.arrays[name]) if found is None else np.float64(found)
            scale = max(1.0, float(np.abs(expected[name]).max(initial=0, where=np.isfinite(expected[name]))))
            limit = TOLERANCE[self.elements.bf16] * tolerance * scale
            np.testing.assert_allclose(found, expected[name], rtol=0, atol=limit, err_msg=f"{name} of {self.case}")
        self.elements.check_guards()
        self.statistics.check_guards()


def forward(build: Callable[..., cpu.Kernels], case: Case, bf16: int, seed: int = 0, order: int = 0) -> Inputs:
    """Run the forward kernel that a device would take."""
    inputs = Inputs(case, bf16, seed)
    tile = FORWARD.tile(case.size, bf16, bool(case.dropout))
    kernels = build(FORWARD.file, **tile.macros)
    inputs.run_tiles(kernels, FORWARD.name, tile, case.queries, case.heads, order or seed)
    return inputs


def backward(build: Callable[..., cpu.Kernels], inputs: Inputs, seed: int = 0) -> None:
    """Run the backward kernels on the results of ``forward``."""
    case, bf16 = inputs.case, inputs.elements.bf16
    kernels = build("attention_delta.cu", ELEMENT_BF16=bf16)
    inputs.run(kernels, "attention_delta", Launch((1, 2, case.samples), (64, 2, 1)), NULL, seed=seed)
    tile = DQ.tile(case.size, bf16, bool(case.dropout))
    inputs.run_tiles(build(DQ.file, **tile.macros), DQ.name, tile, case.queries, case.heads, seed)
    tile = DKDV.tile(case.size, bf16, bool(case.dropout))
    rows, heads = case.keys + (case.key % 16 if case.dropout else 0), case.heads // case.group
    inputs.run_tiles(build(DKDV.file, **tile.macros), DKDV.name, tile, rows, heads, seed)


def decode(build: Callable[..., cpu.Kernels], case: Case, bf16: int, seed: int = 0, num_processors: int = 1) -> Inputs:
    """Run the kernels for few queries."""
    inputs = Inputs(case, bf16, seed)
    rows, matrices = case.group * case.queries, case.samples * case.heads // case.group
    plan = decoding(rows, matrices, case.keys, case.size, bool(bf16), num_processors)
    kernels = build(plan.decode.file, **dict(plan.decode.macros))
    partials = inputs.statistics.room(plan.parts, inputs.log_sum_exp.size, case.size + 1)
    parts = i32(plan.parts)
    blocks = Launch((plan.blocks, 1, 1), (DECODE_THREADS, 1, 1))
    inputs.run(kernels, "attention_decode", blocks, partials, parts, i32(plan.keys_of_part), seed=seed)
    if plan.parts > 1:
        inputs.run(kernels, "attention_merge", Launch((1, 2, case.samples), (32, 2, 1)), partials, parts, seed=seed)
    return inputs
