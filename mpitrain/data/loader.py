"""Batches of one rank, prepared ahead of their use.

Shapes: n samples of a microbatch, (H, W, C), (F,) or (T,) of a sample, K regression targets.
"""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..device import CPU, Device
from .augment import Augment
from .batch_memory import BatchMemory, make_values
from .batches import make_batches
from .dataset import Split
from .lazy import LazyRows
from .normalize import Normalizer
from .prefetch import Prefetcher
from .sampler import share, weighted_share, within

if TYPE_CHECKING:
    from .augment.mixer import Mixer

Weights = tuple[float, ...]

AHEAD = 2  # steps that are prepared beside those that wait: one by the thread, one on its way to a device


@dataclass(frozen=True, eq=False)
class Batch:
    """One microbatch of one rank; n may be 0.

    Attributes
    ----------
    x : (n, H, W, C) or (n, F) array of float32, (n, L) array of int64 tokens, or (n, F) array of int64 codes
        L is the longest of the global batch.
    y : (n,) array of int64 or (n, K) array of float32, normalized like x; (n, L) in language modeling, (n, H, W) in
        segmentation; (n, K) array of float32 probabilities where classes are mixed
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
        None only converts to float32; always None for tokens and codes.
    target_normalizer : Normalizer, optional
        For regression targets.
    augment : Augment, optional
        Changes of samples, and of classes of their pixels; without any variation it has no effect. Where samples are
        mixed, targets are too: those of ``num_classes`` classes are then (n, K) float32 probabilities.
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
        x, y = split.x, split.y
        samples = np.dtype(np.int64 if x.dtype == np.int64 else np.float32)  # int64: codes of categories
        dtypes = samples, np.dtype(np.float32 if y.dtype.kind == "f" else np.int64)
        normalizers, used = (normalizer, target_normalizer), (inputs, targets)
        self._mixer: Mixer | None = None
        self._samples: BatchMemory
        self._targets: BatchMemory
        if augment and not isinstance(x, LazyRows):
            from .augmented_memory import augmented_memory

            made = augmented_memory(split, dtypes, normalizers, ring, device, augment, used)
            self._samples, self._targets, self._mixer = made
        else:
            self._samples, self._targets = (
                make_values(values, dtypes[i], normalizers[i], ring, device, used=used[i])
                for i, values in enumerate((x, y))
            )
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
                pairs = None if self._mixer is None else self._mixer.pairs(whole, part, epoch)
                x, y = (values.take(place, indices, epoch, width, pairs) for values in (self._samples, self._targets))
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


def has_contents(array: np.ndarray) -> bool:
    """Return whether an array of a batch has contents: False for one that its rank does not use."""
    return any(array.strides)


def _longest(count: int, parts: int) -> int:
    return -(-count // parts)
