"""File layout of a checkpoint: a safetensors file with a checksum of every tensor.

    8 bytes      length of the header
    header       JSON: name -> dtype, shape, place; __metadata__: metadata (JSON), checksums (JSON); blanks up to a page
    data         values | slot | slot | states, packed; each in the order of the arena

The order of the arena makes every rank's slice of it one stretch of the file per buffer. The header is written last;
its length is known before the checksums are, because they are written as eight digits each.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...json_text import to_json
from ..dtypes import NAMES

PAGE = 4096
METADATA, CHECKSUMS = "mpitrain", "crc32"


@dataclass(frozen=True)
class Tensor:
    """A tensor in the file; ``begin`` and ``end`` are byte offsets from the start of the data."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def place(tensors: Iterable[tuple[str, Any, tuple[int, ...]]]) -> list[Tensor]:
    """Return the tensors (name, dtype, shape) placed one after another."""
    placed, begin = [], 0
    for name, dtype, shape in tensors:
        dtype = np.dtype(dtype)
        end = begin + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        placed.append(Tensor(name, dtype, shape, begin, end))
        begin = end
    return placed


def make_header(tensors: list[Tensor], metadata: str, checksums: dict[str, int]) -> bytes:
    """Return the start of the file, up to the data."""
    sums = {t.name: f"{checksums.get(t.name, 0):08x}" for t in tensors}
    sums[""] = f"{zlib.crc32(metadata.encode()):08x}"
    header: dict[str, Any] = {"__metadata__": {METADATA: metadata, CHECKSUMS: to_json(sums)}}
    for t in tensors:
        header[t.name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [t.begin, t.end]}
    text = to_json(header).encode()
    padding = -(8 + len(text)) % PAGE
    return (len(text) + padding).to_bytes(8, "little") + text + b" " * padding
