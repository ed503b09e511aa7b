"""Times of attention on an H100, predicted from machine code: python -m tests.kernels.attention.predicted_wgmma

For a tile of the others (a turn of a consumer's main loop), the cycles of a multiprocessor's tensor cores, of its
units for exponentials, of its shared memory, which wgmma reads, and of its schedulers. The longest is a bound. Blocks
take tiles in turn, as the kernels do; the time is that of the last one. What no model here knows: waits that are not
covered, clocks that fall.
"""

from typing import NamedTuple

from mpitrain.kernels import attention_wgmma as tiles
from mpitrain.kernels.predicted.rates import H100
from tests.kernels.machine_code import build

FMA, EXPONENTIALS, SHARED, SLOTS = 2048, 16, 128, 4  # a clock: multiply-adds in bf16, MUFU.EX2, bytes, instructions
END_OF_TILE = 1000  # cycles that a consumer multiplies nothing: the last sums, their way out, the first scores


class Shape(NamedTuple):
    """A launch: S = T tokens."""

    samples: int
    heads: int
    tokens: int
    size: int
    causal: bool


class Turn(NamedTuple):
    """Cycles of a multiprocessor for one turn of one consumer."""

    tensor: float
    exponentials: float
    shared: float
    issue: float

    @property
    def bound(self) -> float:
        return max(self.tensor, self.exponentials, self.shared, self.issue)


KERNELS = {  # the tile, and products of a turn: rows with rows, and sums of rows
    "forward": (tiles.forward, 1, 1),
    "dk, dv": (tiles.backward_keys, 2, 2),
    "dq": (tiles.backward_queries, 2, 1),
}
SHAPES = {
    "GPT-2 124M, 16 x 1024 tokens, D 64, causal": Shape(16, 12, 1024, 64, True),
    "16 k tokens, 16 heads, D 128": Shape(1, 16, 16384, 128, False),
    "16 k tokens, 16 heads, D 128, causal": Shape(1, 16, 16384, 128, True),
    "16 k tokens, 32 heads, D 64": Shape(1, 32, 16384, 64, False),
}


def turn_of(kernel: str, size: int) -> Turn:
    make, rows_with_rows, sums = KERNELS[kernel]
    tile = make(size)
    code = build(tile.file, "90a", {"HEAD_SIZE": size}, "NVRTC").code
    instructions = code.turn("HGMMA", "HGMMA").total()
    scores = 64 * tile.other
    tensor = (rows_with_rows + sums) * scores * size / FMA
    read = 2 * size * (rows_with_rows * (64 + tile.other) + sums * tile.other)  # factors B, and A where it is there
    return Turn(tensor, scores / EXPONENTIALS, read / SHARED, instructions * 4 / SLOTS)


def turns(kernel: str, shape: Shape, tile: tiles.Tile, first: int) -> list[int]:
    """Return the turns of each consumer of the tile whose first row is ``first``."""
    found = []
    for row in range(first, min(first + tile.own, shape.tokens), 64):
        last = min(row + 64, shape.tokens)
        blocks = -(-shape.tokens // tile.other)
        if shape.causal:  # keys up to the own one; or queries from the own one on
            blocks = blocks - row // tile.other if kernel == "dk, dv" else -(-last // tile.other)
        found.append(blocks)
    return found


def cycles(kernel: str, shape: Shape) -> float:
    """Return the cycles of the block that ends last."""
    tile, turn = KERNELS[kernel][0](shape.size), turn_of(kernel, shape.size)
    of_tile = [sum(turns(kernel, shape, tile, first)) for first in range(0, shape.tokens, tile.own)]
    of_tile.sort(reverse=True)
    works = [turn.bound * count + END_OF_TILE for count in of_tile for _ in range(shape.samples * shape.heads)]
    return max(sum(works[block :: H100.processors]) for block in range(min(H100.processors, len(works))))


def main() -> None:
    print("| a turn of a consumer | tensor cores | exponentials | shared memory | schedulers |\n|---|---|---|---|---|")
    for size in (64, 128):
        for kernel in KERNELS:
            turn = turn_of(kernel, size)
            made = f"{turn.tensor:.0f} | {turn.exponentials:.0f} | {turn.shared:.0f} | {turn.issue:.0f}"
            print(f"| {kernel}, D {size} | {made} |")
    print("\n| | forward | dk, dv | dq | forward | backward |\n|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        seconds = {kernel: cycles(kernel, shape) / H100.clock_hz for kernel in KERNELS}
        work = 4 * shape.samples * shape.heads * shape.tokens**2 * shape.size / (2 if shape.causal else 1)
        rates = work / seconds["forward"], 2.5 * work / (seconds["dk, dv"] + seconds["dq"])
        times = " | ".join(f"{1e3 * seconds[kernel]:.3g} ms" for kernel in KERNELS)
        print(f"| {name} | {times} | {rates[0] / 1e12:.0f} | {rates[1] / 1e12:.0f} TFLOP/s |")


if __name__ == "__main__":
    main()
