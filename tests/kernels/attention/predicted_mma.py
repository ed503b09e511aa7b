"""Times of attention by mma.sync, predicted from machine code: python -m tests.kernels.attention.predicted_mma

A scheduler issues one instruction a clock; mma.sync takes the tensor cores of an H100 6.45 clocks for 16 x 8 x 16 (the
62 % of the peak of wgmma that others have measured); an exponential of a warp 8 clocks; ldmatrix 4 clocks of the shared
memory of four schedulers. The largest of the four is the time of a turn if all else is hidden behind it.
"""

import sys

from mpitrain.kernels.attention import DKDV, DQ, FORWARD, Family
from mpitrain.kernels.plan import ceil_div
from mpitrain.kernels.predicted.rates import H100
from tests.kernels.machine_code import build

SCHEDULERS = H100.processors * int(H100.issue)
MMA, EXPONENTIAL, LDMATRIX = 6.45, 8, 16  # clocks of a scheduler
SAMPLES, HEADS, TOKENS, SIZE, LAYERS = 16, 12, 1024, 64, 12


def turn_of(family: Family, arch: str = "90a") -> dict[str, float]:
    """Return the clocks of a scheduler for one turn of a warp's main loop, by what needs them."""
    code = build(family.file, arch, family.tile(SIZE, True, False).macros, "nvcc").code
    products, fetched, least = (code.turn("HMMA", wanted) for wanted in ("HMMA", "LDGSTS", "nothing"))

    def count(prefix: str) -> int:
        return sum(n for full, n in products.items() if full.startswith(prefix))

    issued = sum(products.values()) + sum(fetched.values()) - sum(least.values())
    tensor, special, shared = (
        rate * count(prefix) for rate, prefix in ((MMA, "HMMA"), (EXPONENTIAL, "MUFU"), (LDMATRIX, "LDSM"))
    )
    return {"issue slots": issued, "tensor cores": tensor, "exponentials": special, "ldmatrix": shared}


def turns_of(family: Family) -> int:
    """Return the turns of all warps of a layer, causal: of each warp's rows, those of tiles that are seen at all."""
    tile = family.tile(SIZE, True, False)
    warps = range(TOKENS // tile.warp_rows)
    return SAMPLES * HEADS * sum(ceil_div((i + 1) * tile.warp_rows, tile.other) for i in warps)


def main() -> None:
    print("| kernel | " + " | ".join(turn_of(FORWARD)) + " | turns of a layer | at best, ms | operations |")
    print("|---|" + "---|" * 7)
    total = 0.0
    for family, products in ((FORWARD, 2), (DQ, 3), (DKDV, 4)):
        clocks, turns = turn_of(family), turns_of(family)
        seconds = max(clocks.values()) * turns / SCHEDULERS / H100.clock_hz * LAYERS
        total += seconds
        operations = products * SAMPLES * HEADS * TOKENS * TOKENS * SIZE * LAYERS
        cells = [
            *(f"{x:.0f}" for x in clocks.values()),
            f"{turns}",
            f"{seconds * 1e3:.2f}",
            f"{operations / 1e9:.0f} G",
        ]
        print(f"| {family.name} | " + " | ".join(cells) + " |")
    numbers = SAMPLES * HEADS * TOKENS * SIZE * LAYERS
    delta = 2 * 2 * numbers / H100.hbm_bytes
    print(f"| attention_delta | | | | | | {delta * 1e3:.2f} | memory |")
    print(f"\nForward and backward of {LAYERS} layers: {(total + delta) * 1e3:.1f} ms at best")


if __name__ == "__main__":
    sys.exit(main())
