"""Batches of one rank, prepared ahead of their use.

Shapes: n samples of a microbatch, (H, W, C), (F,) or (T,) of a sample, K regression targets.
"""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import CPU, Device
from .augment import Augment, Augmenter
from .batches import make_batches
from .dataset import Split
from .lazy import LazyRows
from .normalize import Normalizer
from .prefetch import Prefetcher
from .sampler import share, weighted_share, within

Weights = tuple[float, ...]

AHEAD = 2  # steps that are prepared beside those that wait: one by the thread, one on its way to a device


@dataclass(frozen=True, eq=False)
class Batch:
    """One microbatch of one rank; n may be 0.

    Attributes
    ----------
    x : (n, H, W, C) or (n, F) array of float32, or (n, L) array of int64 tokens
        L is the longest of the global batch.
    y : (n,) array of int64 or (n, K) array of float32, normalized like x; (n, L) in language modeling
    first : int
        The place of the first sample within the global batch.
    indices : (n,) array of int64
        The places of the samples within the split.
    """

    x: np.ndarray
    y: np.ndarray
    first: int
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


class Loader:
    """Batches of one rank from a split.

    Every rank takes the same number of steps and of microbatches, so that no rank is missing in a collective:
    where there are fewer samples than ranks some batches are empty, not absent.

    Parameters
    ----------
    split : Split
    batch_size : int
        Samples of a global batch, over all ranks and microbatches.
    rank, size : int
        This rank among those that share the batches.
    seed : int
        Seed of the order.
    normalizer : Normalizer or None
        None only converts to float32; always None for tokens.
    target_normalizer : Normalizer, optional
        For regression targets.
    augment : Augment, optional
        For images only; without any variation it has no effect.
    microbatches : int
        Parts that a global batch is cut into, of which each rank has a share: the same parts on any number of ranks.
    virtual_ranks : bool
        Cut a global batch at once into the microbatches of all ranks instead: the same on 2 ranks with 4 and on 4
        with 2.
    inputs, targets : bool
        Whether this rank uses them, as the first and the last stage of a pipeline do; the arrays of batches have the
        right shapes without them, but no contents.
    shuffle : bool
        False takes the samples in the order of the split.
    prefetch : int
        Steps that a thread prepares ahead, at most those of an epoch; 0 prepares each when it is asked for.
    device : Device
        Destination of the batches, which are allocated in memory that it can copy from.
    whole_rows : bool
        Pad rows of tokens to the longest of the split, not of the global batch, so that all batches have one shape.
    batch_tokens : int
        For rows of tokens that differ in their lengths (see ``batches.make_batches``).
    weights : sequence of float
        Of the shares of all ranks; empty for equal ones.

    Attributes
    ----------
    lead : int
        Steps from the next one to the first that is not prepared yet, however far the thread is ahead.
    wait_seconds : float
        Time spent waiting for input since the loader was made.
    normalized_bytes : int
        Memory of values normalized ahead of time, in addition to the split.

    Raises
    ------
    UserError
        If ``augment`` does not go with the samples; see ``check_augment``.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        rank: int,
        size: int,
        seed: int,
        normalizer: Normalizer | None,
        target_normalizer: Normalizer | None = None,
        augment: Augment | None = None,
        microbatches: int = 1,
        virtual_ranks: bool = False,
        shuffle: bool = True,
        prefetch: int = 2,
        device: Device = CPU,
        inputs: bool = True,
        targets: bool = True,
        whole_rows: bool = False,
        batch_tokens: int = 0,
        weights: Sequence[float] = (),
    ):
        if min(batch_size, microbatches, size) < 1 or not 0 <= rank < size or prefetch < 0:
            raise ValueError(f"{batch_size=}, {microbatches=}, {rank=}, {size=}, {prefetch=}")
        self.split, self.batch_size, self.rank, self.size, self.seed = split, batch_size, rank, size, seed
        self.microbatches, self.virtual_ranks = microbatches, virtual_ranks
        self.batches = make_batches(split.x, batch_size, batch_tokens=batch_tokens, shuffle=shuffle)
        self.prefetch = prefetch = min(prefetch, self.batches.num_steps)
        self.lead = prefetch + AHEAD
        self._whole_rows = whole_rows
        self.wait_seconds = 0.0
        self._running: Iterator[list[Batch]] = iter(())

        self._weights: list[tuple[tuple[int, int], Weights]] = []  # from (epoch, step) on
        self.divide_from((0, 0), weights)
        capacity = self._capacity(self.weights_at((0, 0)))
        ring = (prefetch + 2 if prefetch else 1, microbatches, capacity)
        images = augment is not None and inputs and not isinstance(split.x, LazyRows)
        augmenter = Augmenter(augment, capacity, split.x.shape[1:], split.x.dtype) if augment and images else None
        self._samples = _values(split.x, np.dtype(np.float32), normalizer, ring, device, augmenter, used=inputs)
        kind = np.dtype(np.float32) if split.y.dtype.kind == "f" else split.y.dtype
        self._targets = _values(split.y, kind, target_normalizer, ring, device, used=targets)
        self.normalized_bytes = self._samples.normalized_bytes + self._targets.normalized_bytes

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        return self.batches.num_steps

    def divide_from(self, place: tuple[int, int], weights: Sequence[float]) -> None:
        """Divide batches by ``weights`` from ``place``, an epoch and a step of it, on: the same on all ranks.

        The step may lie behind the last of the epoch, and must not be prepared yet (``lead``). Places only grow.
        """
        if weights and (self.virtual_ranks or len(weights) != self.size or min(weights) <= 0):
            raise ValueError(f"{self.virtual_ranks=}, {self.size=}, {weights=}")
        equal = len(set(weights)) <= 1
        self._weights.append((place, () if equal else tuple(weights)))  # read by the thread: one call, no lock

    def weights_at(self, place: tuple[int, int]) -> Weights:
        """Return the weights of all ranks in a step of an epoch; empty for equal shares."""
        return next(weights for first, weights in reversed(self._weights) if first <= place)

    def epoch(self, epoch: int = 0, start_step: int = 0) -> Generator[list[Batch]]:
        """Yield a list of ``microbatches`` batches per step.

        A batch is valid until the next step is asked for: its memory is used again. One epoch runs at a time:
        the first step of a new one ends the one before.

        Parameters
        ----------
        epoch : int
            Chooses the order and the augmentation.
        start_step : int
            The first step to yield, to resume in the middle of an epoch.

        Raises
        ------
        RuntimeError
            If it is continued after another epoch of this loader has begun.
        """
        self._end_epoch()
        steps = self._prepare(epoch, start_step)
        running: Iterator[list[Batch]] = Prefetcher(steps, self.prefetch) if self.prefetch else steps
        self._running = running
        try:
            while True:
                asked = time.perf_counter()
                batches = next(running, None)
                self.wait_seconds += time.perf_counter() - asked
                if batches is None:
                    return
                yield batches
                if self._running is not running:
                    raise RuntimeError("this epoch was ended by a later one of the same loader")
        finally:
            if self._running is running:
                self._end_epoch()

    def _end_epoch(self) -> None:
        if isinstance(self._running, Prefetcher):
            self._running.close()
        self._running = iter(())

    def _prepare(self, epoch: int, start_step: int) -> Iterator[list[Batch]]:
        self.batches.begin(self.seed, epoch)
        for values in (self._samples, self._targets):
            values.begin(self.seed, epoch)
        for step in range(start_step, len(self)):
            whole, weights = self.batches.batch(step), self.weights_at((epoch, step))
            for values in (self._samples, self._targets):
                values.reserve(self._capacity(weights))
            width = self._width(whole)
            batches = []
            for m in range(self.microbatches):
                part = self._microbatch(len(whole), m, weights)
                place, indices = (step, m), whole[part]
                x, y = (values.take(place, indices, epoch, width) for values in (self._samples, self._targets))
                batches.append(Batch(x, y, part.start, indices))
            yield batches

    def _width(self, indices: np.ndarray) -> int:
        """Return the tokens to which rows are padded; 0 for samples of another kind."""
        x = self.split.x
        if not isinstance(x, LazyRows):
            return 0
        return x.shape[1] if self._whole_rows else x.width(indices)

    def _capacity(self, weights: Weights) -> int:
        """Return the most samples of a microbatch of this rank."""
        longest = _longest(self.batches.largest, self.microbatches)
        if not weights:
            return _longest(_longest(self.batches.largest, self.size), self.microbatches)
        return min(longest, math.ceil(longest * weights[self.rank] / math.fsum(weights)) + 2)  # 2: of rounding

    def _microbatch(self, samples: int, m: int, weights: Weights) -> slice:
        """Return this rank's part of microbatch ``m`` of a global batch."""
        size, count = self.size, self.microbatches
        if weights:
            return weighted_share(samples, m, count, self.rank, weights)
        if self.virtual_ranks:
            return share(samples, self.rank * count + m, size * count)
        part = share(samples, m, count)
        turned = (self.rank - part.start) % size  # not always the same ranks have one sample more
        return within(part, share(part.stop - part.start, turned, size))


class _Values:
    """The samples or the targets of a split, gathered into buffers that are used in turn.

    Parameters
    ----------
    values : (N, ...) array
    dtype : numpy dtype
        Type in batches.
    normalizer : Normalizer or None
    ring : (int, int, int)
        Steps that are prepared at a time, microbatches, and samples of the longest of these.
    augmenter : Augmenter, optional
    used : bool
        If false, batches have the shape but no contents, and take no memory.
    """

    def __init__(
        self,
        values: np.ndarray,
        dtype: np.dtype[Any],
        normalizer: Normalizer | None,
        ring: tuple[int, int, int],
        device: Device,
        augmenter: Augmenter | None = None,
        *,
        used: bool,
    ):
        self._augmenter = augmenter
        whole = values, normalizer
        self._values, self._normalizer = whole if augmenter or not used else _normalized(*whole)
        self.normalized_bytes = 0 if self._values is values else self._values.nbytes
        shape, kind = self._values.shape[1:], self._values.dtype
        self._ring, self._shape, self._device, self._used = ring[:-1], shape, device, used
        self._dtype, self._kind = dtype, kind
        self._capacity = -1
        self.reserve(ring[-1])

    def begin(self, seed: int, epoch: int) -> None:
        """Do nothing: arrays are the same in every epoch."""

    def reserve(self, capacity: int) -> None:
        """Have room for microbatches of ``capacity`` samples from now on; earlier batches keep their memory."""
        if capacity <= self._capacity:
            return
        self._capacity, used, shape = capacity, self._used, (capacity, *self._shape)
        self._empty = None if used else np.broadcast_to(np.zeros((), self._dtype), shape)
        self._buffers = self._device.pinned_empty((*self._ring, *shape) if used else (0,), self._dtype)
        self._raw = np.empty(shape, self._kind) if used and self._kind != self._dtype else None
        if self._augmenter is not None:
            self._augmenter.reserve(capacity)

    def take(self, place: tuple[int, int], indices: np.ndarray, epoch: int, width: int) -> np.ndarray:
        """Return the values at ``indices``, augmented and normalized, in the buffer of (step, microbatch)."""
        n = len(indices)
        if self._empty is not None:
            return self._empty[:n]
        out: np.ndarray = self._buffers[place[0] % len(self._buffers), place[1], :n]
        raw = out if self._raw is None else self._raw[:n]
        # mode: with the default, "raise", take goes through a temporary array
        np.take(self._values, indices, axis=0, out=raw, mode="clip")
        if self._augmenter is not None:
            self._augmenter(raw, indices, epoch)
        _normalize(self._normalizer, raw, out)
        return out


class _Rows:
    """The rows of tokens of a split, read into buffers that are used in turn.

    Parameters
    ----------
    rows : LazyRows
    ring, used
        As in ``_Values``.
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

    def take(self, place: tuple[int, int], indices: np.ndarray, epoch: int, width: int) -> np.ndarray:
        """Return rows padded to ``width``, C-contiguous, in the buffer of (step, microbatch)."""
        n = len(indices)
        if not self._used:
            return np.broadcast_to(np.zeros((), self._rows.dtype), (n, width))
        out: np.ndarray = self._buffers[place[0] % len(self._buffers), place[1], : n * width].reshape(n, width)
        np.copyto(out, self._of_epoch.take(indices, width))
        return out


def _values(
    values: Any,
    dtype: np.dtype[Any],
    normalizer: Normalizer | None,
    ring: tuple[int, int, int],
    device: Device,
    augmenter: Augmenter | None = None,
    *,
    used: bool,
) -> _Values | _Rows:
    if isinstance(values, LazyRows):
        return _Rows(values, ring, device, used=used)
    return _Values(values, dtype, normalizer, ring, device, augmenter, used=used)


def has_contents(array: np.ndarray) -> bool:
    """Return whether an array of a batch has contents: False for one that its rank does not use."""
    return any(array.strides)


def _normalized(x: np.ndarray, normalizer: Normalizer | None) -> tuple[np.ndarray, Normalizer | None]:
    """Return values and the normalization still to be applied to them.

    float64 in memory is normalized at once, which takes 4 more bytes per number and spares every epoch moving twice the
    bytes. A memory map stays one: several ranks share it.
    """
    if normalizer is None or x.dtype != np.float64 or isinstance(x, np.memmap):
        return x, normalizer
    return normalizer(x), None


def _normalize(normalizer: Normalizer | None, raw: np.ndarray, out: np.ndarray) -> None:
    if normalizer is not None:
        normalizer(raw, out, overwrite=True)
    elif raw is not out:
        np.copyto(out, raw, casting="same_kind")


def _longest(count: int, parts: int) -> int:
    return -(-count // parts)
