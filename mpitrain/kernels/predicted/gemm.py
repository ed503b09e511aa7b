"""Predicted times of products on an H100: python -m mpitrain.kernels.predicted.gemm

Nothing here was measured. A tile of gemm_wgmma takes, for each step of k, the longest of what the tensor cores (2048
FMA of bf16 a clock), the L2 cache and the schedulers need, and then its epilogue: instructions that were counted in
machine code (tests/kernels/products/test_compile_gemm.py), or its bytes on their way to L2, if that takes longer.
Consumers that share a tile add the two; those that take turns hide the shorter one. A product takes the time of its
busiest cluster, and at least that of its bytes, and a launch.

Where K is cut, sums of parts are kept in the same way, and read by a second launch: from L2 if it holds them, else from
memory. Of gradients of weights there is a second table. Their bytes from memory are those that miss an L2 cache which
holds what was used last (gemm_traffic.py): blocks that read another k at the same time share less.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ..gemm import TILES, Shape, Tile
from ..gemm_plan import STREAM, make_plan, split_choices
from ..planner import choose, read_table
from ..stream_k import Piece, StreamK
from .gemm_traffic import Sizes, bytes_from_memory
from .rates import H100

FMA = H100.multiply_adds["wgmma"]
LAUNCH_S = 2e-6
STEP = 64  # of k
STEP_INSTRUCTIONS = 70  # of a warp, in one step, at most
EPILOGUE_INSTRUCTIONS = {"none": 570, "gelu_tanh": 1400, "gelu_tanh_gradient": 1940}
"""Instructions that a warp executes for 16 x 256 elements; with pre (gelu_tanh), an estimate."""
KEEP_INSTRUCTIONS = 40  # for as many sums of a part of K
ROWS = 16 * 1024  # tokens of a step of GPT-2


class Predicted(NamedTuple):
    """Seconds, and the share of the tensor cores' peak; of the seconds, those of the second launch.

    ``memory`` is the time of the product's bytes, each read once.
    """

    tile: Tile
    splits: int
    stream: StreamK
    seconds: float
    share: float
    summing: float
    memory: float


def predict(shape: Shape, tile: Tile, splits: int = 1, factor_bytes: float = 0.0) -> Predicted:
    """Return the time of ``shape`` in tiles of gemm_wgmma.

    ``factor_bytes``: of the factors, from memory; if they are not given, each comes once.
    """
    made = make_plan(shape, tile, splits, H100.processors)
    assert made.stream is not None
    written = _written(shape)
    moved = (factor_bytes or 2 * shape.k * (shape.m + shape.n)) + written * shape.m * shape.n
    clocks = _clocks(shape, tile, made.stream)
    partial_bytes = 4 * made.stream.num_partials
    summing = memory = 0.0
    if partial_bytes:
        held = partial_bytes <= H100.l2_held
        rate = H100.l2_bytes * H100.processors * H100.clock_hz if held else H100.hbm_bytes
        summed = made.stream.shared * tile.m * tile.n
        summing = LAUNCH_S + partial_bytes / rate + written * summed / H100.hbm_bytes
        moved += 0 if held else partial_bytes
    memory = moved / H100.hbm_bytes
    seconds = max(clocks / H100.clock_hz, memory) + LAUNCH_S + summing
    peak = H100.processors * H100.clock_hz * FMA
    return Predicted(
        tile, splits, made.stream, seconds, shape.m * shape.n * shape.k / (seconds * peak), summing, memory
    )


def _written(shape: Shape) -> int:
    """Return the bytes that are written for a result, with pre if there is one (or read for it)."""
    return (2 if shape.outputs == "bf16" else 4) * (2 if shape.epilogue != "none" else 1)


def _clocks(shape: Shape, tile: Tile, stream: StreamK) -> float:
    """Return the clocks of the busiest cluster."""
    area, clusters = tile.rows * tile.n, H100.processors // tile.cluster
    fetched = (tile.rows + tile.n / tile.cluster) * 2 * STEP
    consumers = 1 if tile.ping_pong else 2
    step = max(area * STEP / FMA, fetched / H100.l2_bytes, STEP_INSTRUCTIONS * 4 * consumers / H100.issue)

    def ending(instructions: int, stored: int) -> float:
        issue = instructions * (area / (16 * 256)) / H100.issue
        return max(issue, area * stored / H100.l2_bytes)

    finish, keep = ending(EPILOGUE_INSTRUCTIONS[shape.epilogue], _written(shape)), ending(KEEP_INSTRUCTIONS, 4)

    def clocks(pieces: list[Piece]) -> float:
        times = [((piece.stop - piece.first) * step, finish if piece.plane < 0 else keep) for piece in pieces]
        if tile.ping_pong:
            return sum(map(max, times)) + times[-1][1] if times else 0.0
        return sum(map(sum, times))

    work = (
        (piece for item in range(i, stream.items, clusters) for piece in stream.pieces(item)) for i in range(clusters)
    )
    return max(clocks([*pieces]) for pieces in work)


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
    """Print the tables of docs/benchmarks/gpu-predicted.md."""
    print("| product | chosen | ms | of peak | best of this model | ms |\n|---|---|---|---|---|---|")
    for name, shape in shapes():
        tile, splits = choose(shape, "sm_90a", H100.processors, read_table())
        chosen = predict(shape, tile, splits)
        best = _best(shape, (*split_choices(shape), STREAM))
        print(
            f"| {name} | {_label(chosen)} | {1e3 * chosen.seconds:.3f} | {chosen.share:.0%} | {_label(best)} "
            f"| {1e3 * best.seconds:.3f} |"
        )
    print_gradients()


def _best(shape: Shape, ways: tuple[int, ...]) -> Predicted:
    tiles = [tile for tile in TILES if tile.kernel == "gemm_wgmma" and tile.takes(shape, "sm_90a")]
    return min((predict(shape, tile, way) for tile in tiles for way in ways), key=lambda each: each.seconds)


def gradients() -> Iterator[tuple[str, Shape]]:
    """Yield gradients of weights: of networks with few tiles, and with many."""
    for name, i, o, rows in (
        ("GPT-2 qkv", 768, 2304, ROWS),
        ("GPT-2 projection", 768, 768, ROWS),
        ("GPT-2 up", 768, 3072, ROWS),
        ("GPT-2 down", 3072, 768, ROWS),
        ("GPT-2 head", 768, 50304, ROWS),
        ("GPT-2 medium qkv", 1024, 3072, ROWS),
        ("GPT-2 medium up", 1024, 4096, ROWS),
        ("BERT-base up, 4096 tokens", 768, 3072, 4096),
        ("BERT-large projection", 1024, 1024, ROWS),
        ("LLaMA 1B gate", 2048, 5632, ROWS),
        ("LLaMA 7B projection", 4096, 4096, 8192),
        ("LLaMA 7B gate", 4096, 11008, 8192),
        ("ResNet-50 1x1 64-256, batch 256", 64, 256, 256 * 56 * 56),
        ("ResNet-50 1x1 256-1024", 256, 1024, 256 * 14 * 14),
        ("ResNet-50 1x1 512-2048", 512, 2048, 256 * 7 * 7),
    ):
        yield name, _shape(i, o, rows, transpose_a=True, outputs="fp32")


def print_gradients() -> None:
    """Print what cutting K costs: for each gradient the best that splits it, and the best by stream-K."""
    print("\n| dw | K split, or whole | ms | of peak | stream-K | ms | of peak | sums | memory | planner | ms |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, shape in gradients():
        tile, splits = choose(shape, "sm_90a", H100.processors, read_table())
        split, stream = (_with_traffic(shape, _best(shape, ways)) for ways in (split_choices(shape), (STREAM,)))
        chosen = _with_traffic(shape, predict(shape, tile, splits))
        print(
            f"| {name} | {_label(split)} | {1e3 * split.seconds:.3f} | {split.share:.0%} | {_label(stream)} "
            f"| {1e3 * stream.seconds:.3f} | {stream.share:.0%} | {1e3 * stream.summing:.3f} "
            f"| {1e3 * stream.memory:.3f} | {_label(chosen)} | {1e3 * chosen.seconds:.3f} |"
        )


def _with_traffic(shape: Shape, found: Predicted) -> Predicted:
    """Return the same, where factors come from memory again when L2 has lost them."""
    sizes, clusters = Sizes(shape.m, shape.n, found.tile.m, found.tile.n), H100.processors // found.tile.cluster
    return predict(shape, found.tile, found.splits, bytes_from_memory(sizes, found.stream, clusters, H100))


def _label(found: Predicted) -> str:
    turns = ", in turns" * found.tile.ping_pong
    cut = ", stream-K" if found.splits == STREAM else f", K in {found.splits}"
    return f"{found.tile.m} x {found.tile.n}{turns}" + cut * (found.stream.shared > 0)


if __name__ == "__main__":
    main()
