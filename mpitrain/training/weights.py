"""Weights on disk: safetensors, complete or absent."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ..arena import Arena
from ..errors import UserError


def save_weights(path: Path, arena: Arena, facts: dict[str, Any]) -> None:
    """Write all values and states of ``arena`` and the JSON-able ``facts`` to ``path``.

    The file appears whole or not at all: it is written beside ``path``, flushed to the disk and renamed.
    """
    tensors = {name: np.ascontiguousarray(view) for name, view in arena.named_tensors().items()}
    data = safetensors.numpy.save(tensors, metadata={"mpitrain": json.dumps(facts)})
    write_atomically(path, data)


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts stored with the weights at ``path``.

    Raises
    ------
    UserError
        If there is no such file or it is no mpitrain weights file.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
    if "mpitrain" not in metadata:
        raise UserError(f"{path} was not written by mpitrain: its metadata has no mpitrain entry")
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(facts := json.loads(metadata["mpitrain"]), dict):
            return facts
    raise UserError(f"{path} is damaged: what mpitrain has written into its metadata is no longer JSON")


def load_weights(path: Path, arena: Arena) -> None:
    """Fill ``arena`` from ``path``.

    Raises
    ------
    UserError
        If the names or shapes are not those of the model.
    """
    wanted = arena.named_tensors()
    with _opened(path) as file:
        names = set(file.keys())
        if names != set(wanted):
            odd = sorted(names ^ set(wanted))[0]
            side = "lacks" if odd in wanted else "has"
            raise UserError(f"{path} does not hold this model: it {side} the tensor {odd}")
        for name, view in wanted.items():
            tensor = file.get_tensor(name)
            if tensor.shape != view.shape:
                raise UserError(f"{path} does not hold this model: {name} is {tensor.shape}, not {view.shape}")
            view[...] = tensor


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, finds the old content or the new and nothing between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _opened(path: Path) -> Any:
    try:
        return safetensors.safe_open(path, "numpy")
    except (OSError, safetensors.SafetensorError) as error:
        reason = "there is no such file" if not path.is_file() else f"it is no whole safetensors file ({error})"
        raise UserError(f"cannot read the weights {path}: {reason}") from None
