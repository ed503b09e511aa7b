"""Weights on disk: safetensors, complete or absent."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ..arena import Arena, Parameter, State
from ..errors import UserError
from ..json_text import to_json
from ..layers import Layer


def save_weights(path: Path, arena: Arena, metadata: dict[str, Any]) -> None:
    """Write all values and states of ``arena`` and the JSON-able ``metadata`` to ``path``.

    The file appears whole or not at all: it is written next to ``path``, flushed to the disk and renamed.
    """
    tensors = {name: np.ascontiguousarray(arena.device.to_host(view)) for name, view in arena.named_tensors().items()}
    data = safetensors.numpy.save(tensors, metadata={"mpitrain": to_json(metadata, words=True)})
    write_atomically(path, data)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata stored with the weights at ``path``.

    Raises
    ------
    UserError
        If there is no such file or it is no mpitrain weights file.
    """
    with _opened(path) as file:
        entries = file.metadata() or {}
    if "mpitrain" not in entries:
        raise UserError(f"{path} was not written by mpitrain: its metadata has no mpitrain entry")
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(metadata := json.loads(entries["mpitrain"]), dict):
            return metadata
    raise UserError(f"{path} is damaged: what mpitrain has written into its metadata is no longer JSON")


def check_weights(path: Path, model: Layer) -> None:
    """Raise a UserError if the tensors of ``path`` are not those of ``model``, which may still lack memory."""
    tensors: list[tuple[str, Parameter | State]] = [*model.named_parameters(), *model.named_states()]
    first_names = {id(tensor): name for name, tensor in reversed(tensors)}  # a shared weight has several
    wanted = {name: tensor.shape for name, tensor in tensors if first_names[id(tensor)] == name}
    with _opened(path) as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)
    for name in sorted(set(found) ^ set(wanted)):
        side = "lacks" if name in wanted else "has"
        raise UserError(f"{path} does not hold this model: it {side} the tensor {name}")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise UserError(f"{path} does not hold this model: {name} is {found[name]}, not {shape}")


def load_weights(path: Path, arena: Arena) -> None:
    """Fill ``arena`` from ``path``, whose tensors are those of its model (``check_weights``)."""
    with _opened(path) as file:
        for name, view in arena.named_tensors().items():
            view[...] = arena.device.from_host(file.get_tensor(name))


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write ``data`` to ``path`` atomically: readers, also after a crash, find the old content or the new."""
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
