"""Read a checkpoint: its metadata, its tensors, and a check of its bytes against the checksums."""

import contextlib
import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...parameter import Tensor as AnyTensor
from ..dtypes import DTYPES
from .layout import CHECKSUMS, METADATA, Tensor
from .parts import STATES_OF_RANK, tensors_of
from .state import SYNC, State, overlaps, state_runs

LONGEST_HEADER = 1 << 28
BLOCK = 8 << 20  # bytes read at a time


class Checkpoint:
    """A checkpoint on the disk, its header read and checked.

    Attributes
    ----------
    path : Path
    metadata : dict
        The metadata passed to ``Writer.begin``.
    tensors : dict of str to Tensor
    digest : str
        A hash of the header, which has the metadata and the checksums of all tensors: equal for equal checkpoints.

    Raises
    ------
    UserError
        If it cannot be read, is not complete, or was not written by mpitrain.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                length = int.from_bytes(file.read(8), "little")
                if not 2 <= length <= min(size - 8, LONGEST_HEADER):
                    raise UserError(f"{path} is not a whole checkpoint: its header is missing or cut off")
                header = file.read(length)
        except OSError as error:
            raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from None
        self._begin, self.digest = 8 + length, hashlib.blake2b(header, digest_size=16).hexdigest()
        self._read_header(header, size - self._begin)

    def _read_header(self, header: bytes, num_bytes: int) -> None:
        try:
            tree = json.loads(header)
            stored = tree.pop("__metadata__")
            text, sums = stored[METADATA], json.loads(stored[CHECKSUMS])
            self.metadata: dict[str, Any] = json.loads(text)
            self._sums = {str(name): int(text, 16) for name, text in sums.items()}
            self.tensors = {name: _tensor(name, entry) for name, entry in tree.items()}
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OverflowError):
            raise UserError(f"{self.path} was not written by mpitrain, or its header is damaged") from None
        if not isinstance(self.metadata, dict) or set(self._sums) != {"", *self.tensors}:
            raise UserError(f"{self.path} was not written by mpitrain, or its header is damaged")
        if zlib.crc32(text.encode(errors="surrogatepass")) != self._sums[""]:
            raise UserError(f"{self.path} is damaged: the checksum of its metadata is wrong")
        end = 0
        for t in sorted(self.tensors.values(), key=lambda t: (t.begin, t.end)):
            if t.begin != end or t.end - t.begin != t.dtype.itemsize * math.prod(t.shape):
                raise UserError(f"{self.path} is damaged: the place of {t.name} is wrong")
            end = t.end
        if end != num_bytes:
            raise UserError(f"{self.path} is cut off: it holds {num_bytes:,} bytes of {end:,}")

    def verify(self, rank: int = 0, size: int = 1) -> None:
        """Compare the checksums of every ``size``-th tensor, so that ``size`` ranks share the work.

        Raises
        ------
        UserError
            If a tensor is not the one that was written; the message names it.
        """
        with self._opened() as descriptor:
            for t in list(self.tensors.values())[rank::size]:
                crc = 0
                for start in range(t.begin, t.end, BLOCK):
                    count = min(BLOCK, t.end - start)
                    crc = zlib.crc32(self._read(descriptor, start, count), crc)
                if crc != self._sums[t.name]:
                    raise UserError(f"{self.path} is damaged: the checksum of {t.name} is wrong")

    def load(self, state: State, slices: tuple[slice, ...] | None = None, row: tuple[int, int] = (0, 1)) -> None:
        """Fill ``state``: values and states, and of each slot the ``slices`` (all by default).

        Whatever part of the model the arena is, its tensors are found by their names. Slots of the synchronization that
        the file lacks begin with zeros, and those that it has besides are left out: options of the exchange between
        ranks may change from one part of a run to the next.

        Parameters
        ----------
        row : (int, int)
            This rank among those that divide the samples, and their number: where each had states or slots of its own
            and there are as many again, each gets its own back. Otherwise all get the same, the mean.

        Raises
        ------
        UserError
            If the tensors are not those of the whole model and its optimizer.
        """
        self._check_fit(state)
        arena = state.arena
        with self._opened() as descriptor:
            for prefix, flat in state.buffers().items():
                if prefix in self.sync_slots ^ _sync_slots(state.slots):
                    flat.fill(0)
                    continue
                wanted = arena.divided if prefix == "" else slices
                wanted = (slice(0, len(flat)),) if wanted is None else wanted
                held = arena.trained if prefix else [*arena.trained, *arena.frozen]
                for p, part in overlaps(held, wanted):
                    tensor, inside = self.tensors[prefix + p.name], slice(part.start - p.start, part.stop - p.start)
                    if state.is_own(prefix):
                        found = _cut(self._row(descriptor, tensor, *row), p)[inside]
                    elif p.shard is not None and p.shard.dim:  # many runs
                        found = _cut(self._array(descriptor, tensor, 0, math.prod(p.full_shape)), p)[inside]
                    else:
                        for first, at, length in _pieces(p, inside, BLOCK // flat.itemsize):
                            found = self._array(descriptor, tensor, at * flat.itemsize, length)
                            flat[p.start + first : p.start + first + length] = arena.device.from_host(found)
                        continue
                    flat[part] = arena.device.from_host(found)
            arena.values_changed()
            for s in arena.state_list:
                found = self._array(descriptor, self.tensors[s.name], 0, math.prod(s.full_shape))
                s.data[...] = arena.device.from_host(_cut(found, s).reshape(s.shape))
            runs = state_runs(arena)
            if runs and STATES_OF_RANK in self.tensors:
                states = self._row(descriptor, self.tensors[STATES_OF_RANK], *row)
                for here, there in runs:
                    arena.states[here] = arena.device.from_host(states[there])

    @property
    def sync_slots(self) -> set[str]:
        """The slots of the synchronization in the file, by the prefix of their names: "sync.error."."""
        return _sync_slots(self.tensors)

    def _row(self, descriptor: int, table: Tensor, rank: int, size: int) -> np.ndarray:
        """Return the row of ``rank`` in a table of ``size`` rows, or the mean of all rows of another table."""
        rows, count = table.shape[0], math.prod(table.shape[1:])
        if rows == size:
            return self._array(descriptor, table, rank * count * table.dtype.itemsize, count)
        mean: np.ndarray = self._array(descriptor, table, 0, rows * count).reshape(rows, count).mean(axis=0)
        return mean

    def _check_fit(self, state: State) -> None:
        rows = self.tensors[STATES_OF_RANK].shape[0] if STATES_OF_RANK in self.tensors else 0
        wanted = {t.name: t for t in tensors_of(state, rows, self._slot_rows(state))}
        changed = tuple(self.sync_slots ^ _sync_slots(state.slots))
        wanted = {name: t for name, t in wanted.items() if not name.startswith(changed)}
        odd = sorted(name for name in set(wanted) ^ set(self.tensors) if not name.startswith(changed))
        if odd:
            side = "lacks" if odd[0] in wanted else "has"
            raise UserError(f"{self.path} does not hold this model and optimizer: it {side} the tensor {odd[0]}")
        for name, t in wanted.items():
            found = self.tensors[name]
            if (found.shape, found.dtype) != (t.shape, t.dtype):
                raise UserError(
                    f"{self.path} does not hold this model: {name} is {found.dtype} {found.shape}, "
                    f"not {t.dtype} {t.shape}"
                )

    def _slot_rows(self, state: State) -> int:
        """Return the number of ranks whose slots of the optimizer are in the file, where each has its own."""
        own = [name for name in self.tensors if state.is_own(name)]
        return next((self.tensors[name].shape[0] for name in own if self.tensors[name].shape), 1)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UserError(f"cannot read the checkpoint {self.path}: {error.strerror}") from None

    def _array(self, descriptor: int, tensor: Tensor, skip: int, count: int) -> np.ndarray:
        data = self._read(descriptor, tensor.begin + skip, count * tensor.dtype.itemsize)
        return np.frombuffer(data, tensor.dtype)

    def _read(self, descriptor: int, begin: int, count: int) -> bytearray:
        data, done = bytearray(count), 0
        while done < count:
            got = os.preadv(descriptor, [memoryview(data)[done:]], self._begin + begin + done)
            if not got:
                raise UserError(f"{self.path} is cut off")
            done += got
        return data


def _tensor(name: str, entry: Any) -> Tensor:
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    if any(type(n) is not int or not 0 <= n < 1 << 62 for n in (*shape, begin, end)) or len(shape) > 32:
        raise ValueError(name)
    return Tensor(name, np.dtype(DTYPES[entry["dtype"]]), shape, begin, end)


def _cut(whole: np.ndarray, tensor: AnyTensor) -> np.ndarray:
    """Return the part of a flattened tensor that this rank holds, flattened."""
    if tensor.shard is None:
        return whole
    return tensor.shard.take(whole.reshape(tensor.full_shape)).reshape(-1)


def _pieces(tensor: AnyTensor, inside: slice, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield pieces of the elements ``inside`` of a tensor, whole or cut by rows: first, place in the whole, length.

    A rank may have no memory for a large table twice.
    """
    runs: Iterable[tuple[int, int, int]] = [(inside.start, inside.start, inside.stop - inside.start)]
    if tensor.shard is not None:
        runs = tensor.shard.runs(tensor.full_shape, inside.start, inside.stop)
    for first, at, length in runs:
        for begin in range(0, length, most):
            yield first + begin, at + begin, min(most, length - begin)


def _sync_slots(names: Iterable[str]) -> set[str]:
    """Return the prefixes of the slots of the synchronization among names."""
    parts = [name.split(".") for name in names if name.startswith(SYNC)]
    return {f"{SYNC}{part[1]}." for part in parts}
