"""Batches of one rank, prepared ahead of their use.

Shapes: n samples of a microbatch, (H, W, C) or (F,) of a sample, K regression targets.
"""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from ..device import CPU, Device
from .augment import Augment, Augmenter
from .dataset import Split
from .normalize import Normalizer
from .prefetch import Prefetcher
from .sampler import StepShare, epoch_order, num_steps, share, step_shares, within


@dataclass(frozen=True, eq=False)
class Batch:
    """One microbatch of one rank; n may be 0.

    Attributes
    ----------
    x : (n, H, W, C) or (n, F) array of float32
    y : (n,) array of int64 or (n, K) array of float32, normalized like x
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
        None only converts to float32.
    target_normalizer : Normalizer, optional
        For regression targets.
    augment : Augment, optional
        For images only; without any variation it has no effect.
    microbatches : int
        Parts that a rank's share of a step is cut into.
    virtual_ranks : bool
        Cut a global batch at once into the microbatches of all ranks: the same on 2 ranks with 4 and on 4 with 2.
    shuffle : bool
        False takes the samples in the order of the split.
    prefetch : int
        Steps that a thread prepares ahead, at most those of an epoch; 0 prepares each when it is asked for.
    device : Device
        Destination of the batches, which are allocated in memory that it can copy from.

    Attributes
    ----------
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
    ):
        if min(batch_size, microbatches, size) < 1 or not 0 <= rank < size or prefetch < 0:
            raise ValueError(f"{batch_size=}, {microbatches=}, {rank=}, {size=}, {prefetch=}")
        self.split, self.batch_size, self.rank, self.size, self.seed = split, batch_size, rank, size, seed
        self.microbatches, self.virtual_ranks = microbatches, virtual_ranks
        prefetch = min(prefetch, num_steps(len(split), batch_size))
        self.shuffle, self.prefetch = shuffle, prefetch
        self.wait_seconds = 0.0
        self._running: Iterator[list[Batch]] = iter(())

        capacity = _longest(_longest(min(batch_size, len(split)), size), microbatches)
        ring = (prefetch + 2 if prefetch else 1, microbatches, capacity)
        x, self._normalizer = (split.x, normalizer) if augment else _normalized(split.x, normalizer)
        y, self._target_normalizer = _normalized(split.y, target_normalizer)
        self._samples, self._targets = x, y
        self.normalized_bytes = sum(own.nbytes for own, raw in ((x, split.x), (y, split.y)) if own is not raw)
        self._x = device.pinned_empty((*ring, *x.shape[1:]), np.float32)
        self._y = device.pinned_empty((*ring, *y.shape[1:]), np.float32 if y.dtype.kind == "f" else y.dtype)
        self._raw = None if x.dtype == np.float32 else np.empty((capacity, *x.shape[1:]), x.dtype)
        self._raw_y = None if y.dtype == self._y.dtype else np.empty((capacity, *y.shape[1:]), y.dtype)
        self._augmenter = Augmenter(augment, capacity, x.shape[1:], x.dtype) if augment else None

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        return num_steps(len(self.split), self.batch_size)

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
        order = epoch_order(len(self.split), self.seed, epoch, shuffle=self.shuffle)
        for work in step_shares(len(self.split), self.batch_size, self.rank, self.size, start_step):
            slot = work.step % len(self._x)
            batches = []
            for m in range(self.microbatches):
                part = self._microbatch(work, m)
                x, y = self._fill(self._x[slot, m], self._y[slot, m], order[part], epoch)
                batches.append(Batch(x, y, part.start - work.batch.start, order[part]))
            yield batches

    def _microbatch(self, work: StepShare, m: int) -> slice:
        outer, place, places = work.part, m, self.microbatches
        if self.virtual_ranks:
            outer, place, places = work.batch, self.rank * places + m, self.size * places
        return within(outer, share(outer.stop - outer.start, place, places))

    def _fill(self, x: np.ndarray, y: np.ndarray, indices: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Gather, augment and normalize the samples into the buffers ``x`` and ``y``; return the parts used."""
        n = len(indices)
        x, y = x[:n], y[:n]
        raw = x if self._raw is None else self._raw[:n]
        raw_y = y if self._raw_y is None else self._raw_y[:n]
        # mode: with the default, "raise", take goes through a temporary array
        np.take(self._samples, indices, axis=0, out=raw, mode="clip")
        np.take(self._targets, indices, axis=0, out=raw_y, mode="clip")
        if self._augmenter is not None:
            self._augmenter(raw, indices, epoch)
        _normalize(self._normalizer, raw, x)
        _normalize(self._target_normalizer, raw_y, y)
        return x, y


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
