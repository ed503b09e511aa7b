"""Files of token ids: those of nanoGPT (bare uint16), of llm.c (a header of 1,024 bytes), and our own (meta.json).

llm.c: 256 int32, the first 20240520 (version 1, uint16, GPT-2) or 20240801 (version 7, uint32, Llama 3), the second the
version, the third the number of tokens (https://github.com/karpathy/llm.c, dev/data/data_common.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..files import reading
from ..formats.unpickle import unpickle
from . import cache
from .encode import Unit
from .options import TextOptions
from .stream import TokenStream
from .tokenizer import BYTES

HEADER = 256
LLM_C = {20240520: (1, "<u2", 50257, 50256), 20240801: (7, "<u4", 128256, 128000)}  # magic: version, dtype, V, end
SCANNED = 64 << 20  # tokens of a unit of work
QUICK = 64 << 20  # tokens that each process looks at anew


@dataclass(frozen=True)
class TokenFiles:
    """The token files of one split.

    Attributes
    ----------
    paths : list of Path
    parts : list of (n,) memory maps
    vocabulary, end_of_text : int
        What the files say of themselves; 0 and -1 where they do not.
    """

    paths: list[Path]
    parts: list[np.ndarray]
    vocabulary: int
    end_of_text: int

    @property
    def stream(self) -> TokenStream:
        """All tokens."""
        return TokenStream(self.parts)

    def units(self) -> list[Unit]:
        """Return the work of finding the largest id; each leaves it in a file of the cache."""
        return [unit for _, _, unit in self._scans()] if sum(map(len, self.parts)) > QUICK else []

    def largest(self) -> tuple[int, str]:
        """Return the largest id, and the place of the first part that has it."""
        found: list[tuple[int, int, str]] = []
        for path, start, unit in self._scans():
            if sum(map(len, self.parts)) > QUICK:
                unit.run()
                value = int(unit.path.read_bytes())
            else:
                value = int(unit.work())
            found.append((value, -len(found), f"{path}, at or after token {start:,}"))
        value, _, where = max(found, default=(-1, 0, ""))
        return value, where

    def _scans(self) -> list[tuple[Path, int, Unit]]:
        found: list[tuple[Path, int, Unit]] = []
        for path, part in zip(self.paths, self.parts):
            for start in range(0, len(part), SCANNED):
                tokens = part[start : start + SCANNED]
                facts = ["largest", *cache.facts_of(path), part.dtype.str, start]

                def work(tokens: np.ndarray = tokens) -> bytes:
                    return str(int(tokens.max())).encode()

                found.append((path, start, Unit(cache.path_for(facts, ".txt"), work)))
        return found


def open_token_files(paths: list[Path], options: TextOptions) -> TokenFiles:
    """Map the token files of a split.

    Raises
    ------
    UserError
        If one is cut off, is damaged, or differs from the others.
    """
    opened = [_open(path, options) for path in paths]
    says = {(vocabulary, end) for _, vocabulary, end in opened}
    if len(says) > 1:
        raise UserError(f"{paths[0].parent}: the token files are of different tokenizers")
    (vocabulary, end), parts = says.pop(), [part for part, _, _ in opened]
    return TokenFiles(paths, parts, vocabulary, end)


def find_token_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the token files to train and to test on: those with ``train`` in their names, and those with ``val``.

    Raises
    ------
    UserError
        If there are none to train on.
    """
    found = sorted(folder.glob("*.bin"))
    train = [path for path in found if "train" in path.name]
    test = [path for path in found if path not in train and ("val" in path.name or "test" in path.name)]
    if not train:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise UserError(f"tokens:{folder} has no file train.bin or *train*.bin (its .bin files: {names})")
    return train, test


def read_meta(folder: Path) -> tuple[int, int, str]:
    """Return the vocabulary, the end of text and the tokenizer of a folder; 0, -1 and "" for what it does not say.

    They are in a meta.json of our own, ``{"vocabulary": 257, "end_of_text": 256, "tokenizer": "tokenizer.json"}``, or
    in the meta.pkl of nanoGPT (vocab_size).
    """
    path = folder / "meta.json"
    if path.is_file():
        with reading(path, "a meta.json"):
            facts = json.loads(path.read_bytes())
        if not isinstance(facts, dict):
            facts = {}
        size, end, name = facts.get("vocabulary"), facts.get("end_of_text", -1), facts.get("tokenizer", "")
        if type(size) is not int or size < 1 or type(end) is not int or not isinstance(name, str):
            raise UserError(f'{path} must be as in {{"vocabulary": 257, "end_of_text": 256, "tokenizer": "bytes"}}')
        return size, end, str(folder / name) if name not in ("", BYTES) else name
    path = folder / "meta.pkl"
    if path.is_file():
        facts = unpickle(path)
        size = facts.get("vocab_size") if isinstance(facts, dict) else None
        return size if isinstance(size, int) else 0, -1, ""
    return 0, -1, ""


def _open(path: Path, options: TextOptions) -> tuple[np.ndarray, int, int]:
    """Return the tokens of a file, and the vocabulary and end of text that its header tells."""
    with reading(path, "token ids"):
        size = path.stat().st_size
        if not size:
            raise UserError(f"{path} is empty: it holds no tokens")
        head = np.fromfile(path, "<i4", 3)
        if len(head) == 3 and int(head[0]) in LLM_C:
            return _open_llm_c(path, size, head.tolist())
        dtype = np.dtype(options.dtype or "uint16").newbyteorder("<")
        if size % dtype.itemsize:
            raise UserError(f"{path} is cut off: its {size:,} bytes are no whole number of {dtype.name} tokens")
        return np.memmap(path, dtype, "r"), 0, -1


def _open_llm_c(path: Path, size: int, head: list[int]) -> tuple[np.ndarray, int, int]:
    magic, version, count = head
    known, dtype, vocabulary, end = LLM_C[magic]
    if version != known:
        raise UserError(f"{path}: a header of llm.c of version {version}, expected {known}")
    there = (size - 4 * HEADER) // np.dtype(dtype).itemsize
    if count < 1 or there < count or size < 4 * HEADER:
        raise UserError(f"{path} is cut off: its header promises {count:,} tokens, and there are {max(0, there):,}")
    return np.memmap(path, dtype, "r", offset=4 * HEADER, shape=(count,)), vocabulary, end
