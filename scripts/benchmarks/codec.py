"""Time to encode and decode gradients, beside a plain copy of as many numbers.

Each row is an operation of a codec at one length; a copy of that length (np.copyto) runs in turn with it. The speed is
that of the copy divided by its own: 0.5x takes twice the time of a copy. "encode" adds the error of the step before and
keeps the new one, "decode" adds to what is there: what an exchange does in one pass each.

    scripts/bench codec [--elements N ...] [--threads N] [--json FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from mpitrain.cli.terminal import make_console
from mpitrain.cpu_kernels import why
from mpitrain.device import CPU, device_of
from mpitrain.ops.compress import largest_places, thin_product
from mpitrain.ops.powersgd import project
from mpitrain.parallel.compress.owners import BlockCodec
from mpitrain.parallel.compress.registry import make_codec
from mpitrain.training.display.text_table import Column, print_table

LENGTHS = (1 << 16, 1 << 20, 11_000_000)  # in a cache, of a bucket, out of every cache
CODECS = ("bf16", "fp16", "int8", "sign")
SECONDS = 0.3  # of each contender
RANK, COLUMNS = 4, 512


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench codec", description=__doc__.split("\n\n")[0])
    parser.add_argument("--elements", type=int, nargs="+", default=list(LENGTHS), metavar="N", help="of a gradient")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the kernels in C (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    CPU.use_threads(options.threads)
    rows = [row for length in options.elements for row in measure(length)]
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def measure(length: int) -> Iterator[dict[str, object]]:
    """Yield a row for each operation of each codec."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal(length).astype(np.float32), np.zeros(length, np.float32)
    for name, what, share, call in operations(x):
        copy, seconds = in_turn([partial(np.copyto, target, x), call])
        yield {
            "codec": name,
            "what": what,
            "elements": length,
            "share": share,
            "copy_us": copy * 1e6,
            "us": seconds * 1e6,
            "speed": copy / seconds,
        }


def operations(x: np.ndarray) -> Iterator[tuple[str, str, float, Callable[[], object]]]:
    """Yield (codec, operation, bytes sent relative to float32, call)."""
    factors, device = (1.0, 0.0, 1.0), device_of(x)
    for name in CODECS:
        codec = make_codec(name)
        assert isinstance(codec, BlockCodec)
        message, error, y = device.zeros((codec.message_bytes(x.size),), np.uint8), np.zeros_like(x), np.zeros_like(x)
        share = message.nbytes / x.nbytes
        yield name, "encode, no error", share, partial(codec.encode, x, error[:0], message, factors)
        yield name, "encode", share, partial(codec.encode, x, error, message, factors)
        yield name, "decode", share, partial(codec.decode, message, y, True)
    yield "topk", "select 1%", 0.02, partial(largest_places, x, device.zeros((x.size // 100,), np.int64))
    matrix = x[: x.size // COLUMNS * COLUMNS].reshape(-1, COLUMNS)
    right, left, found = (device.zeros((len(rows), RANK)) for rows in (matrix.T, matrix, matrix))
    right.fill(1)
    left.fill(1)
    share = RANK * (len(matrix) + COLUMNS) / max(1, matrix.size)
    yield "powersgd", "M Q", share, partial(project, matrix, right, found, False)
    yield "powersgd", "P Q'", share, partial(thin_product, left, right.T.copy(), np.empty_like(matrix), False)


def in_turn(calls: list[Callable[[], object]]) -> list[float]:
    """Return the median seconds of each call; they run in turn."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + SECONDS * len(calls)
    while time.perf_counter() < end or len(times[0]) < 5:
        for call, some in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            some.append(time.perf_counter() - begin)
    return [float(np.median(some)) for some in times]


def show(rows: list[dict[str, object]]) -> None:
    columns = [
        Column("codec", "word"),
        Column("", "word"),
        *map(Column, ("elements", "sent", "copy, us", "us", "speed")),
    ]
    lines = [
        (
            str(row["codec"]),
            str(row["what"]),
            f"{row['elements']:,}",
            f"{row['share']:.1%}",
            f"{row['copy_us']:,.0f}",
            f"{row['us']:,.0f}",
            f"{row['speed']:.2f}x",
        )
        for row in rows
    ]
    print_table(make_console(), columns, lines, title=f"Codecs beside a copy ({why})")


if __name__ == "__main__":
    sys.exit(main())
