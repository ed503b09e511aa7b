"""Memory of the batches of a loader: the samples or targets of a split, gathered into buffers used in turn.

Shapes: N samples of a split, n of a microbatch.
"""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..device import Device
from .lazy import LazyRows
from .mapped import is_mapped, take_rows
from .normalize import Normalizer

if TYPE_CHECKING:
    from .augment.augmenter import Augmenter
    from .augment.base import Pairs


class BatchMemory(Protocol):
    """Buffers of the samples or targets of batches.

    Attributes
    ----------
    normalized_bytes : int
        Memory of values normalized ahead of time.
    """

    normalized_bytes: int

    def begin(self, seed: int, epoch: int) -> None:
        """Begin an epoch."""

    def reserve(self, capacity: int) -> None:
        """Have room for microbatches of ``capacity`` samples from now on; earlier batches keep their memory."""

    def take(
        self, place: tuple[int, int], indices: np.ndarray, epoch: int, width: int, pairs: "Pairs | None" = None
    ) -> np.ndarray:
        """Return the values at ``indices`` in the buffer of (step, microbatch).

        Parameters
        ----------
        width : int
            Tokens to which rows are padded.
        pairs : Pairs, optional
            The samples to mix with, for memory that mixes.
        """


class Values:
    """The samples or the targets of a split, gathered into buffers that are used in turn.

    Parameters
    ----------
    values : (N, ...) array, or MappedRows
    dtype : numpy dtype
        Type in batches.
    normalizer : Normalizer or None
    ring : (int, int, int)
        Steps that are prepared at a time, microbatches, and samples of the longest of these.
    augmenter : Augmenter, optional
    used : bool
        If false, batches have the shape but no contents, and take no memory.

    Attributes
    ----------
    shape : tuple of int
        Of one sample or target.
    dtype : numpy dtype
    """

    def __init__(
        self,
        values: Any,
        dtype: np.dtype[Any],
        normalizer: Normalizer | None,
        ring: tuple[int, int, int],
        device: Device,
        augmenter: "Augmenter | None" = None,
        *,
        used: bool,
    ):
        self._augmenter = augmenter
        whole = values, normalizer
        self._values, self._normalizer = whole if augmenter or not used else _normalized(*whole)
        self.normalized_bytes = 0 if self._values is values else self._values.nbytes
        shape, kind = self._values.shape[1:], self._values.dtype
        self._ring, self.shape, self._device, self._used = ring[:-1], shape, device, used
        self.dtype, self._kind = dtype, kind
        self._capacity = -1
        self.reserve(ring[-1])

    def begin(self, seed: int, epoch: int) -> None:
        """Do nothing: arrays are the same in every epoch."""

    def reserve(self, capacity: int) -> None:
        """Have room for microbatches of ``capacity`` samples from now on; earlier batches keep their memory."""
        if capacity <= self._capacity:
            return
        self._capacity, used, shape = capacity, self._used, (capacity, *self.shape)
        self._empty = None if used else np.broadcast_to(np.zeros((), self.dtype), shape)
        self._buffers = self._device.pinned_empty((*self._ring, *shape) if used else (0,), self.dtype)
        self._raw = np.empty(shape, self._kind) if used and self._kind != self.dtype else None

    def take(
        self, place: tuple[int, int], indices: np.ndarray, epoch: int, width: int = 0, pairs: "Pairs | None" = None
    ) -> np.ndarray:
        """Return the values at ``indices``, augmented and normalized, in the buffer of (step, microbatch)."""
        n = len(indices)
        if self._empty is not None:
            return self._empty[:n]
        out: np.ndarray = self._buffers[place[0] % len(self._buffers), place[1], :n]
        raw = out if self._raw is None else self._raw[:n]
        take_rows(self._values, indices, raw)
        if self._augmenter is not None:
            self._augmenter(raw, indices, epoch)
        _normalize(self._normalizer, raw, out)
        return out


class Rows:
    """The rows of tokens of a split, read into buffers that are used in turn.

    Parameters
    ----------
    rows : LazyRows
    ring, used
        As in ``Values``.
    """

    normalized_bytes = 0

    def __init__(self, rows: LazyRows, ring: tuple[int, int, int], device: Device, *, used: bool):
        self._rows = self._of_epoch = rows
        self._used, self._device, self._ring = used, device, ring[:-1]
        self._capacity = -1
        self.reserve(ring[-1])

    def reserve(self, capacity: int) -> None:
        """Have room for microbatches of ``capacity`` rows from now on; earlier batches keep their memory."""
        if capacity > self._capacity:
            self._capacity, size = capacity, capacity * self._rows.shape[1]
            self._buffers = self._device.pinned_empty((*self._ring, size) if self._used else (0,), self._rows.dtype)

    def begin(self, seed: int, epoch: int) -> None:
        """Take the rows of an epoch from now on."""
        self._of_epoch = self._rows.of_epoch(seed, epoch)

    def take(
        self, place: tuple[int, int], indices: np.ndarray, epoch: int, width: int, pairs: "Pairs | None" = None
    ) -> np.ndarray:
        """Return rows padded to ``width``, C-contiguous, in the buffer of (step, microbatch)."""
        n = len(indices)
        if not self._used:
            return np.broadcast_to(np.zeros((), self._rows.dtype), (n, width))
        out: np.ndarray = self._buffers[place[0] % len(self._buffers), place[1], : n * width].reshape(n, width)
        np.copyto(out, self._of_epoch.take(indices, width))
        return out


def make_values(
    values: Any,
    dtype: np.dtype[Any],
    normalizer: Normalizer | None,
    ring: tuple[int, int, int],
    device: Device,
    augmenter: "Augmenter | None" = None,
    *,
    used: bool,
) -> BatchMemory:
    """Return the memory of batches of ``values``, as their kind needs it."""
    if isinstance(values, LazyRows):
        return Rows(values, ring, device, used=used)
    return Values(values, dtype, normalizer, ring, device, augmenter, used=used)


def _normalized(x: Any, normalizer: Normalizer | None) -> tuple[Any, Normalizer | None]:
    """Return values and the normalization still to be applied to them.

    float64 in memory is normalized at once, which takes 4 more bytes per number and spares every epoch moving twice the
    bytes. A memory map stays one: several ranks share it.
    """
    if normalizer is None or x.dtype != np.float64 or is_mapped(x):
        return x, normalizer
    return normalizer(x), None


def _normalize(normalizer: Normalizer | None, raw: np.ndarray, out: np.ndarray) -> None:
    if normalizer is not None:
        normalizer(raw, out, overwrite=True)
    elif raw is not out:
        np.copyto(out, raw, casting="same_kind")
