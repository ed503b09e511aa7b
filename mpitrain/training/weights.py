"""Weights on disk: safetensors, complete or absent."""

import contextlib
import json
import re
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
from ..plain_text import visible

if TYPE_CHECKING:  # the command line needs no MPI
    from ..comm.channel import Channel


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
    tensors = {name: np.ascontiguousarray(arena.device.to_host(view)) for name, view in arena.named_tensors().items()}
    if channel is None or channel.group.size == 1:
        return tensors
    pipe = channel.group
    stages = pipe.all_gather(list(tensors))
    if pipe.rank:
        held = {name for names in stages[: pipe.rank] for name in names}  # rank 0 gets them from those before
        _send([array for name, array in tensors.items() if name not in held], channel)
    else:
        shapes = {entry.name: entry.shape for entry in arena.whole}
        for stage, names in enumerate(stages):
            new = {name: np.empty(shapes[name], arena.dtype) for name in names if name not in tensors}
            _receive(list(new.values()), stage, channel)
            tensors |= new
    return None if pipe.rank else {entry.name: tensors[entry.name] for entry in arena.whole}


def _send(arrays: list[np.ndarray], channel: "Channel") -> None:
    messages = [channel.send(array, 0, tag, "weights to stage 0") for tag, array in enumerate(arrays)]
    for message in messages:
        message.wait()


def _receive(arrays: list[np.ndarray], stage: int, channel: "Channel") -> None:
    messages = [channel.receive(array, stage, tag, f"weights of stage {stage}") for tag, array in enumerate(arrays)]
    for message in messages:
        message.wait()


def save_weights(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
    """Write ``tensors`` of the host by name (``gather_tensors``) and the JSON-able ``metadata`` to ``path``.

    The file appears whole or not at all: it is written next to ``path``, flushed to the disk and renamed.
    """
    data = safetensors.numpy.save(tensors, metadata={"mpitrain": to_json(metadata, words=True)})
    write_atomically(path, data)


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
        for name, view in arena.named_tensors().items():
            if name in there or not ADAPTER.search(name):
                view[...] = arena.device.from_host(file.get_tensor(name))


def open_tensors(path: Path) -> Any:
    """Return the safetensors file at ``path``, opened for arrays of NumPy; raise a UserError if it is none."""
    try:
        return safetensors.safe_open(path, "numpy")
    except (OSError, safetensors.SafetensorError) as error:
        damage = f"it is no whole safetensors file ({visible(str(error))})"
        reason = damage if path.is_file() else "there is no such file"
        raise UserError(f"cannot read the weights {path}: {reason}") from None
