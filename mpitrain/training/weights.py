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
from ..parameter import Shard, Tensor
from ..plain_text import visible
from .dtypes import NAMES
from .weight_streams import LARGE, PIECE, Arriving, Own, StreamedTensor, is_streamed, send_pieces

if TYPE_CHECKING:  # the command line needs no MPI
    from ..comm.channel import Channel

Part = tuple[str, Shard | None]
"""A tensor by its name, and the part of it that a rank holds."""
Whole = np.ndarray | StreamedTensor
"""A tensor of the whole model: in memory, or arriving."""


def gather_tensors(arena: Arena, channel: "Channel | None" = None) -> dict[str, Whole] | None:
    """Return the values and states of the whole model by name, in forward order.

    Large tensors cut by rows are read from other ranks when they are written: ``save_weights`` must follow on rank 0.

    Parameters
    ----------
    channel : Channel, optional
        Between ranks whose arenas together hold the whole model; they call it together, and rank 0 gets the tensors,
        the others None. Without it ``arena`` holds the whole model.

    Returns
    -------
    dict of str to array or StreamedTensor, or None
        Arrays of the host: views of the arena, if it is there.
    """
    mine = {
        (tensor.name, tensor.shard): np.ascontiguousarray(arena.device.to_host(tensor.data)) for tensor in arena.tensors
    }
    if channel is None or channel.group.size == 1:
        return {name: array for (name, _), array in mine.items()}
    group, shapes = channel.group, {entry.name: entry.shape for entry in arena.whole}
    held = group.all_gather(list(mine))
    before = {key for keys in held[: group.rank] for key in keys}  # rank 0 gets them from those
    size = arena.dtype.itemsize
    in_order = [sorted(keys, key=lambda key: key[0]) for keys in held]
    streamed = [[key for key in keys if is_streamed(shapes[key[0]], size, key[1])] for keys in in_order]
    if group.rank:
        pieces = [key for key in streamed[group.rank] if key not in before]
        _send([array for key, array in mine.items() if key not in before and key not in pieces], channel)
        for key in pieces:
            send_pieces(mine[key], channel)
        return None
    names = {name for keys in streamed for name, _ in keys}
    small = {key: array for key, array in mine.items() if key[0] not in names}
    joined = _join(arena, small, [[key for key in keys if key[0] not in names] for keys in held], channel)
    arriving = {name: _stream(name, shapes[name], mine, streamed, channel) for name in names}
    return {name: arriving[name] if name in names else joined[name] for name in shapes}


def _stream(
    name: str, shape: tuple[int, ...], mine: dict[Part, np.ndarray], held: Sequence[Sequence[Part]], channel: "Channel"
) -> StreamedTensor:
    """Return a tensor whose parts arrive piece by piece, each from the first rank that holds it."""
    sources: dict[Part, Own | Arriving] = {}
    for rank, keys in enumerate(held):
        for key in keys:
            if key[0] == name and key not in sources:
                size, dtype = int(np.prod(_shard(key).shape(shape))), next(iter(mine.values())).dtype
                sources[key] = Arriving(channel, rank, size, dtype) if rank else Own(mine[key])
    return StreamedTensor(shape, next(iter(mine.values())).dtype, [(_shard(key), sources[key]) for key in sources])


def _shard(key: Part) -> Shard:
    assert key[1] is not None
    return key[1]


def _join(
    arena: Arena, mine: dict[Part, np.ndarray], held: Sequence[Sequence[Part]], channel: "Channel"
) -> dict[str, np.ndarray]:
    """Return the tensors in ``held``, whole, of which ranks of ``channel`` hold the parts."""
    parts, there = dict(mine), {name for keys in held for name, _ in keys}
    shapes = {entry.name: entry.shape for entry in arena.whole if entry.name in there}
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


def save_weights(path: Path, tensors: Mapping[str, Whole], metadata: dict[str, Any]) -> None:
    """Write ``tensors`` of the host by name (``gather_tensors``) and the JSON-able ``metadata`` to ``path``.

    The file appears whole or not at all: it is written next to ``path``, flushed to the disk and renamed.
    """
    write_atomically(path, serialized(tensors, {"mpitrain": to_json(metadata, words=True)}))


def copy_weights(path: Path, to: Path) -> None:
    """Copy a file of weights; the copy appears whole or not at all."""
    try:
        with open(path, "rb") as file:
            write_atomically(to, iter(lambda: file.read(PIECE), b""))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def serialized(tensors: Mapping[str, Whole], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
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
    for _, tensor in in_order:
        for array in tensor if isinstance(tensor, StreamedTensor) else [tensor]:
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
        for tensor in arena.tensors:
            if tensor.name not in there and ADAPTER.search(tensor.name):
                continue
            if arena.divided is None and _is_read_by_rows(tensor):
                _read_rows(file.get_slice(tensor.name), tensor, arena)
            else:
                arena.put(tensor.name, file.get_tensor(tensor.name))


def _is_read_by_rows(tensor: Tensor) -> bool:
    """Return whether a tensor is cut by rows, or so large that memory for it twice would be much."""
    num_bytes = 4 * int(np.prod(tensor.full_shape, dtype=np.int64))
    if tensor.shard is None:
        return num_bytes >= 64 * LARGE
    return tensor.shard.dim == 0 and num_bytes >= LARGE


def _read_rows(rows: Any, tensor: Tensor, arena: Arena) -> None:
    """Read this rank's rows of a tensor from a file, some at a time."""
    ranges = ((0, tensor.full_shape[0]),) if tensor.shard is None else tensor.shard.ranges
    most, place = max(1, PIECE // (4 * int(np.prod(tensor.full_shape[1:], dtype=np.int64)))), 0
    for begin, end in ranges:
        for start in range(begin, end, most):
            part = rows[start : min(start + most, end)]
            tensor.data[place : place + len(part)] = arena.device.from_host(part)
            place += len(part)
    arena.values_changed()


def open_tensors(path: Path) -> Any:
    """Return the safetensors file at ``path``, opened for arrays of NumPy; raise a UserError if it is none."""
    try:
        return safetensors.safe_open(path, "numpy")
    except (OSError, safetensors.SafetensorError) as error:
        damage = f"it is no whole safetensors file ({visible(str(error))})"
        reason = damage if path.is_file() else "there is no such file"
        raise UserError(f"cannot read the weights {path}: {reason}") from None
