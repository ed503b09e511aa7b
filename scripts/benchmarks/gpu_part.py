"""Common base of the parts of scripts/bench gpu: a command line, a device, and rows that are written as they come.

The command line is REPEAT SECONDS FILE [--stand-in].
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mpitrain.device import open_gpu
from mpitrain.errors import UserError
from mpitrain.kernels.bench.stopwatch import FLUSH_BYTES

NO_GPU = 2


class Part(NamedTuple):
    """Settings of a part; ``small`` in a dry run on a device that stands for a GPU."""

    repeat: int
    deadline: float
    file: Path
    small: bool
    device: Any
    flush_bytes: int

    def over(self) -> bool:
        """Return whether no further measurement may begin."""
        return time.monotonic() > self.deadline

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write each row into the file when it is there."""
        done = []
        for row in rows:
            done.append(row)
            fresh = self.file.with_suffix(".new")
            fresh.write_text(json.dumps(done, indent=1) + "\n")
            fresh.replace(self.file)


def open_part(purpose: str) -> Part:
    """Return the part that the command line asks for; exits with 2 where there is no GPU."""
    repeat, seconds, file, *rest = sys.argv[1:]
    small = rest == ["--stand-in"]
    if small:
        from tests.gpu.device import ShimDevice

        device, flush_bytes = ShimDevice(), 1 << 12
    else:
        try:
            device, flush_bytes = open_gpu(purpose), FLUSH_BYTES
        except UserError as error:
            print(error, file=sys.stderr)
            sys.exit(NO_GPU)
    return Part(int(repeat), time.monotonic() + float(seconds), Path(file), small, device, flush_bytes)
