"""Tensors of safetensors files by name, in float32."""

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...errors import UserError
from ..weights import open_tensors

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
FLOATS = ("F64", "F32", "F16", "BF16")


class Tensors(Protocol):
    """Tensors of a file or of several, which are read one at a time.

    Attributes
    ----------
    shapes : dict of str to tuple of int
    files : sequence of Path
    """

    shapes: dict[str, tuple[int, ...]]
    files: list[Path]

    def read(self, name: str) -> np.ndarray:
        """Return a tensor in float32."""


class Safetensors:
    """The tensors of a folder: model.safetensors, or the files that its index lists; or those of its file ``name``.

    Raises
    ------
    UserError
        If there is none, or a file is missing or damaged.
    """

    def __init__(self, folder: Path, name: str = ""):
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, tuple[Path, Any]] = {}
        self.files = [folder / name] if name else _files(folder)
        for path in self.files:
            file = open_tensors(path)
            for name in file.keys():  # noqa: SIM118 (no dict)
                ours = _modern(name)
                self.shapes[ours] = tuple(file.get_slice(name).get_shape())
                self._places[ours] = path, (file, name)

    def read(self, name: str) -> np.ndarray:
        """Return a tensor in float32; bfloat16 and float16 are widened.

        Raises
        ------
        UserError
            If its numbers are of another kind, such as those of quantized weights.
        """
        path, (file, stored) = self._places[name]
        kind = file.get_slice(stored).get_dtype()
        if kind not in FLOATS:
            raise UserError(f"{path}: {stored} holds numbers of the type {kind}, and not weights")
        if kind == "BF16":
            return widen_bfloat16(_raw(path, stored)).reshape(self.shapes[name])
        array: np.ndarray = file.get_tensor(stored).astype(np.float32, copy=False)
        return array


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return the float32 numbers that begin with ``bits`` (uint16): their upper halves.

    >>> widen_bfloat16(np.array([0x3FC0], np.uint16)).tolist()
    [1.5]
    """
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _raw(path: Path, name: str) -> np.ndarray:
    """Return the bits of a 16-bit tensor, which NumPy has no type for, from where the header says they are."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        first, stop = json.loads(file.read(size))[name]["data_offsets"]
        file.seek(8 + size + first)
        return np.frombuffer(file.read(stop - first), "<u2")


def _modern(name: str) -> str:
    """Return a name as it is written today: the first BERT files have LayerNorm.gamma and LayerNorm.beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if (folder / SINGLE).is_file() or not index.is_file():
        if not (folder / SINGLE).is_file() and list(folder.glob("pytorch_model*.bin")):
            raise UserError(
                f"{folder} has its weights in pytorch_model.bin only, a pickle, which may run any program: save them "
                f"as {SINGLE} with transformers"
            )
        return [folder / SINGLE]
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        return [folder / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{index} is damaged: it does not say which file has which tensor") from None
