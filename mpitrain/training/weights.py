"""Weights on disk: safetensors, complete or absent."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from ..arena import Arena
from ..data.files import write_atomically
from ..errors import UserError
from ..json_text import to_json
from ..layers.lora import ADAPTER
from ..model_table import ModelTable
from ..parameter import Shard
from ..plain_text import visible
from .dtypes import NAMES

if TYPE_CHECKING:  # the command line needs no MPI
    from ..comm.channel import Channel

Part = tuple[str, Shard | None]
"""A tensor by its name, and the part of it that a rank holds."""


def gather_tensors(arena: Arena, channel: "Channel | None" = None) -> dict[str, np.ndarray] | None:
    """Return the values and states of the whole model by name, in forward order.

    Parameters
    ----------
    channel : Channel, optional
        Between ranks whose arenas together hold the whole model; they call it together, and rank 0 gets the tensors,
        the others None. Without it ``arena`` holds the whole model.

    Returns
    -------
    dict of str to array or None
        Arrays of the host: views of the arena, if it is there.
    """
    mine = {
        (tensor.name, tensor.shard): np.ascontiguousarray(arena.device.to_host(tensor.data)) for tensor in arena.tensors
    }
    if channel is None or channel.group.size == 1:
        return {name: array for (name, _), array in mine.items()}
    group = channel.group
    held = group.all_gather(list(mine))
    before = {key for keys in held[: group.rank] for key in keys}  # rank 0 gets them from those
    if group.rank:
        _send([array for key, array in mine.items() if key not in before], channel)
        return None
    return _join(arena, mine, held, channel)


def _join(
    arena: Arena, mine: dict[Part, np.ndarray], held: Sequence[Sequence[Part]], channel: "Channel"
) -> dict[str, np.ndarray]:
    """Return the tensors of the whole model, of which ranks of ``channel`` hold the parts ``held``."""
    shapes, parts = {entry.name: entry.shape for entry in arena.whole}, dict(mine)
    whole = {name: np.empty(shape, arena.dtype) for name, shape in shapes.items() if (name, None) not in mine}
    for rank, keys in enumerate(held):
        new = {
            (name, shard): whole[name] if shard is None else np.empty(shard.shape(shapes[name]), arena.dtype)
            for name, shard in keys
            if (name, shard) not in parts
        }
        _receive(list(new.values()), rank, channel)
        parts |= new
    for (name, shard), array in parts.items():
        if shard is None:
            whole[name] = array
        else:
            shard.put(array, whole[name])
    return {name: whole[name] for name in shapes}


def _send(arrays: list[np.ndarray], channel: "Channel") -> None:
    messages = [channel.send(array, 0, tag, "weights to rank 0") for tag, array in enumerate(arrays)]
    for message in messages:
        message.wait()


def _receive(arrays: list[np.ndarray], rank: int, channel: "Channel") -> None:
    what = f"weights of {channel.group.name_of(rank)}"
    messages = [channel.receive(array, rank, tag, what) for tag, array in enumerate(arrays)]
    for message in messages:
        message.wait()


def save_weights(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write ``tensors`` of the host by name (``gather_tensors``) and the JSON-able ``metadata`` to ``path``.

    The file appears whole or not at all: it is written next to ``path``, flushed to the disk and renamed.
    """
    write_atomically(path, serialized(tensors, {"mpitrain": to_json(metadata, words=True)}))


def serialized(tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """Yield the parts of a safetensors file; ``safetensors.numpy.save`` would take the memory of a second copy."""
    in_order = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": metadata}
    begin = 0
    for name, array in in_order:
        end = begin + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    text = to_json(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, array in in_order:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata stored with the weights at ``path``.

    Raises
    ------
    UserError
        If there is no such file or it is no mpitrain weights file.
    """
    with open_tensors(path) as file:
        entries = file.metadata() or {}
    if "mpitrain" not in entries:
        raise UserError(f"{path} was not written by mpitrain: its metadata has no mpitrain entry")
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(metadata := json.loads(entries["mpitrain"]), dict):
            return metadata
    raise UserError(f"{path} is damaged: what mpitrain has written into its metadata is no longer JSON")


def check_weights(path: Path, whole: ModelTable, but: re.Pattern[str] | None = None) -> None:
    """Raise a UserError if the tensors of ``path`` are not those of the model with the table ``whole``.

    Names that ``but`` finds do not count.
    """
    wanted = {entry.name: entry.shape for entry in whole}
    with open_tensors(path) as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)
    if but is not None:
        wanted, found = ({name: some[name] for name in some if not but.search(name)} for some in (wanted, found))
    for name in sorted(set(found) ^ set(wanted)):
        side = "lacks" if name in wanted else "has"
        raise UserError(f"{path} does not hold this model: it {side} the tensor {name}")
    for name, shape in wanted.items():
        if found[name] != shape:
            raise UserError(f"{path} does not hold this model: {name} is {found[name]}, not {shape}")


def load_weights(path: Path, arena: Arena) -> None:
    """Fill ``arena`` from ``path``, whose tensors are those of the whole model (``check_weights``).

    Adapters that it lacks keep their values.
    """
    with open_tensors(path) as file:
        there = set(file.keys())
        for name in arena.named_tensors():
            if name in there or not ADAPTER.search(name):
                arena.put(name, file.get_tensor(name))


def open_tensors(path: Path) -> Any:
    """Return the safetensors file at ``path``, opened for arrays of NumPy; raise a UserError if it is none."""
    try:
        return safetensors.safe_open(path, "numpy")
    except (OSError, safetensors.SafetensorError) as error:
        damage = f"it is no whole safetensors file ({visible(str(error))})"
        reason = damage if path.is_file() else "there is no such file"
        raise UserError(f"cannot read the weights {path}: {reason}") from None
