"""Predicted times of products on an H100: python -m mpitrain.kernels.gemm_model

Nothing here was measured. A tile of gemm_wgmma takes, for each step of k, the longest of what the tensor cores (2048
FMA of bf16 a clock), the L2 cache and the schedulers need, and then its epilogue: instructions that were counted in
machine code (tests/kernels/test_compile.py), or its bytes on their way to L2, if that takes longer. Consumers that
share a tile add the two; those that take turns hide the shorter one. A product takes its waves of tiles, and at least
the time of its bytes, and a launch.
"""

from collections.abc import Iterator
from typing import NamedTuple

from .gemm import TILES, Shape, Tile
from .gpu_rates import H100
from .plan import ceil_div
from .planner import choose, read_table

FMA = H100.multiply_adds["wgmma"]
LAUNCH_S = 2e-6
STEP = 64  # of k
STEP_INSTRUCTIONS = 70  # of a warp, in one step, at most
EPILOGUE_INSTRUCTIONS = {"none": 570, "gelu_tanh": 1400, "gelu_tanh_gradient": 1940}
"""Instructions that a warp executes for 16 x 256 elements; with pre (gelu_tanh), an estimate."""
ROWS = 16 * 1024  # tokens of a step of GPT-2


class Predicted(NamedTuple):
    """Seconds, and the share of the tensor cores' peak."""

    tile: Tile
    splits: int
    seconds: float
    share: float


def predict(shape: Shape, tile: Tile, splits: int = 1) -> Predicted:
    """Return the time of ``shape`` in tiles of gemm_wgmma."""
    k = ceil_div(shape.k, splits)
    area, steps = tile.rows * tile.n, ceil_div(k, STEP)
    consumers = 1 if tile.ping_pong else 2
    fetched = (tile.rows + tile.n / tile.cluster) * 2 * STEP
    step = max(
        area * STEP / FMA,
        fetched / H100.l2_bytes,
        STEP_INSTRUCTIONS * 4 * consumers / H100.issue,
    )
    size = 2 if shape.outputs == "bf16" else 4
    written = size * (2 if shape.epilogue != "none" else 1)
    stored = area * written / H100.l2_bytes
    issue = EPILOGUE_INSTRUCTIONS[shape.epilogue] * (area / (16 * 256)) / H100.issue
    epilogue, main = max(issue, stored), step * steps
    pieces = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) * splits
    waves = ceil_div(pieces, H100.processors // tile.cluster)
    clocks = waves * max(main, epilogue) + epilogue if tile.ping_pong else waves * (main + epilogue)
    moved = 2 * shape.k * (shape.m + shape.n) + written * shape.m * shape.n
    parts = 8 * splits * shape.m * shape.n / H100.hbm_bytes + LAUNCH_S if splits > 1 else 0.0
    seconds = max(clocks / H100.clock_hz, moved / H100.hbm_bytes) + LAUNCH_S + parts
    return Predicted(
        tile,
        splits,
        seconds,
        shape.m * shape.n * shape.k / (seconds * H100.processors * H100.clock_hz * FMA),
    )


def shapes() -> Iterator[tuple[str, Shape]]:
    """Yield squares, the shape of a public comparison, and the products of a layer of GPT-2 124M."""
    for n in (8192, 4096):
        yield f"{n} cubed", _shape(n, n, n)
    yield "4096 x 768 x 768", _shape(4096, 768, 768)
    for name, i, o in (("qkv", 768, 2304), ("projection", 768, 768), ("up", 768, 3072), ("down", 3072, 768)):
        yield f"GPT-2 {name}, forward", _shape(ROWS, o, i, epilogue="gelu_tanh" if name == "up" else "none")
        slope = "gelu_tanh_gradient" if name == "down" else "none"
        yield f"GPT-2 {name}, dx", _shape(ROWS, i, o, transpose_b=True, epilogue=slope)
        yield f"GPT-2 {name}, dw", _shape(i, o, ROWS, transpose_a=True, outputs="fp32")
    yield "GPT-2 head, forward", _shape(ROWS, 50304, 768)


def _shape(
    m: int,
    n: int,
    k: int,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    outputs: str = "bf16",
    epilogue: str = "none",
) -> Shape:
    return Shape(m, n, k, 1, transpose_a, transpose_b, "bf16", outputs, epilogue)


def main() -> None:
    """Print the table of docs/benchmarks/gpu-predicted.md."""
    print("| product | chosen | ms | of peak | best of this model | ms |\n|---|---|---|---|---|---|")
    tiles = [tile for tile in TILES if tile.kernel == "gemm_wgmma"]
    for name, shape in shapes():
        tile, splits = choose(shape, "sm_90a", H100.processors, read_table())
        chosen = predict(shape, tile, splits)
        choices = [(t, s) for t in tiles if t.takes(shape, "sm_90a") for s in (1, 2, 4, 8)]
        best = min((predict(shape, t, s) for t, s in choices), key=lambda each: each.seconds)
        print(
            f"| {name} | {_label(chosen)} | {1e3 * chosen.seconds:.3f} | {chosen.share:.0%} | {_label(best)} "
            f"| {1e3 * best.seconds:.3f} |"
        )


def _label(found: Predicted) -> str:
    turns = ", in turns" * found.tile.ping_pong
    return f"{found.tile.m} x {found.tile.n}{turns}" + f", K in {found.splits}" * (found.splits > 1)


if __name__ == "__main__":
    main()
