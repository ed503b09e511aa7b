"""Codecs of gradients on a GPU, beside a copy of as many numbers in its memory: a part of scripts/bench gpu.

python scripts/benchmarks/gpu_codecs.py REPEAT SECONDS FILE [--stand-in]
"""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from codec import operations
from gpu_part import Part, open_part

from mpitrain.kernels.bench.stopwatch import Stopwatch

LENGTHS = (1 << 20, 1 << 23, 1 << 26)  # a chunk of a bucket, a bucket, a large model


def main() -> int:
    part = open_part("codecs cannot be measured")
    part.write(measure(part))
    return 0


def measure(part: Part) -> Iterator[dict[str, Any]]:
    """Yield a row for each operation of each codec, the shortest gradient first."""
    device = part.device
    watch = Stopwatch(device, part.flush_bytes)
    for length in (5000,) if part.small else LENGTHS:
        x = device.from_host(np.random.default_rng(0).standard_normal(length).astype(np.float32))
        target = device.empty((length,))
        for name, what, _, call in operations(x):
            if part.over():
                return
            copy, seconds = watch.medians([partial(device.compute.copy, target, x), call], part.repeat)
            yield {"codec": name, "what": what, "elements": length, "us": 1e6 * seconds, "copy_us": 1e6 * copy}


if __name__ == "__main__":
    sys.exit(main())
