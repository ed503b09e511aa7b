"""Bytes that ranks send in bf16 and in fp32, predicted for GPT-2 124M with 16 x 1024 tokens.

    python -m tests.bf16_predicted        # the table of docs/benchmarks/gpu-predicted.md

Elements sent by a rank are those of the cost formulas of the moves; a test compares them with what moves count.
"""

from typing import NamedTuple

from mpitrain.kernels.predicted.rates import H100
from mpitrain.parallel.moves.exchange import MOST_WHOLE

TOKENS, WIDTH, LAYERS, WEIGHTS, KV_HEADS = 16 * 1024, 768, 12, 124_475_904, 12
HOST, NVLINK = 50e9, 370e9  # bytes a second: through page-locked memory by PCIe 5; bus bandwidth of NCCL by NVLink 4


class Row(NamedTuple):
    """Bytes that a rank sends in a step, and those that a kernel moves for sums."""

    what: str
    fp32: float
    bf16: float
    summed: float = 0.0


def sum_bytes(size: int, num_elements: int) -> tuple[float, float, float]:
    """Return the bytes that a rank sends of a sum in fp32 (a ring) and in bf16, and those of the kernel that adds."""
    whole = size == 2 or 2 * num_elements <= MOST_WHOLE
    sent = 2 * (size - 1) * num_elements * (1 if whole else 2 / size)
    own = num_elements if whole else num_elements / size
    return 8 * (size - 1) / size * num_elements, sent, 2 * (size + 1) * own


def rows() -> list[Row]:
    """Return the table."""
    found, array = [], TOKENS * WIDTH
    for size in (2, 4, 8):
        fp32, bf16, summed = (4 * LAYERS * number for number in sum_bytes(size, array))
        found.append(Row(f"tensor={size}: 4 sums a layer", fp32, bf16, summed))
    found.append(Row("pipe=4: a border, forward and backward", 2 * 4 * array, 2 * 2 * array))
    for size in (2, 8):
        part = LAYERS * 2 * array / size  # keys and values of a rank's tokens
        keys, gradients = 2 * (size - 1) * part, size * part
        found.append(Row(f"context={size}, ring: keys, values, their gradients", 4 * (keys + gradients),
                         2 * keys + 4 * gradients))  # fmt: skip
        turned = LAYERS * 2 * 4 * array / size * (size - 1) / size  # q, k, v there, y back; and in backward
        found.append(Row(f"context={size}, by heads: q, k, v and y", 4 * turned, 2 * turned))
    moved = LAYERS * 4 * 2 * array / 8 * 7 / 8
    found.append(Row("expert=8, top_k=2: 4 moves of rows a layer", 4 * moved, 2 * moved))
    buckets = 2 * 7 / 8 * WEIGHTS
    found.append(Row("data=8: gradients, `--compress bf16`", 4 * buckets, 2 * buckets))
    return found


def main() -> None:
    """Print the table."""
    print("| a rank sends in a step | fp32, MB | bf16, MB | saved through the host, ms | by NVLink, ms | sums, ms |")
    print("|---|---|---|---|---|---|")
    for row in rows():
        saved = row.fp32 - row.bf16
        times = (1e3 * saved / HOST, 1e3 * saved / NVLINK, 1e3 * row.summed / H100.hbm_bytes)
        print(
            f"| {row.what} | {row.fp32 / 1e6:,.0f} | {row.bf16 / 1e6:,.0f} | "
            + " | ".join(f"{t:.2f}" for t in times)
            + " |"
        )


if __name__ == "__main__":
    main()
