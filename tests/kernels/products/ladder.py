"""The rungs of the ladder on the CPU: one run of a product, with NaN around its factors."""

import numpy as np

from mpitrain.kernels.ladder import OUT_BOX
from mpitrain.kernels.ladder import RUNGS as ALL
from tests.kernels import cpu, formats
from tests.kernels.products import cases as products
from tests.kernels.products import gemm

RUNGS = {rung.name: rung for rung in ALL}
ARCH = {rung.name: "90a" if rung.barriers else "80" for rung in ALL if rung.inputs == "bf16"}


def run(kernels: cpu.Kernels, name: str, m: int, n: int, k: int, seed: int) -> float:
    """Run one product of random matrices; return its error relative to the sum of absolute products."""
    rng, rung = np.random.default_rng(seed), RUNGS[name]
    if rung.boxes is not None:  # rows of whole 16 bytes
        n, k = -(-n // 8) * 8, -(-k // 8) * 8
    is_bf16 = rung.inputs == "bf16"
    a, b = (products.Buffer((1, *shape), 0, 0, np.uint16 if is_bf16 else np.float32) for shape in ((m, k), (k, n)))
    values = []
    for buffer in (a, b):
        drawn = rng.standard_normal(buffer.values.shape).astype(np.float32)
        buffer.values[:] = formats.to_bf16(drawn) if is_bf16 else drawn
        values.append(np.float64(formats.from_bf16(buffer.values) if is_bf16 else drawn)[0])
    out = np.full((m, n), np.nan, np.float32)
    factors = [buffer.values for buffer in (a, b)]
    if rung.boxes is not None:
        factors = [gemm.tensor_map(buffer, box) for buffer, box in zip((a, b), rung.boxes)]
    result = gemm.shim_map(out.ctypes.data, 4, (n, m, 1), (4, 4 * n, 4 * n * m), OUT_BOX) if rung.stores else out
    plan = rung.plan(m, n, num_processors=3)
    kernels.launch(
        name,
        grid=plan.grid,
        block=plan.block,
        shared_bytes=plan.shared_bytes,
        arguments=[*factors, result, *(np.array(size, np.int32) for size in (m, n, k))],
        memory=[a.values, b.values, out],
        seed=seed,
    )
    a_values, b_values = values
    return float(np.max(np.abs(out - a_values @ b_values) / (np.abs(a_values) @ np.abs(b_values) + 1e-30)))
