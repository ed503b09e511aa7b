"""Memory of batches whose samples are augmented, or mixed in pairs; imported where there is augmentation only.

Shapes: n samples of a microbatch; K classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..device import CPU, Device
from .augment.augmenter import Augmenter
from .augment.base import Pairs
from .augment.mixer import Mixer, mix_classes, mix_values
from .augment.settings import Augment
from .batch_memory import BatchMemory, Values
from .dataset import UNLABELED, Split
from .normalize import Normalizer
from .pixels import has_pixel_targets

Ring = tuple[int, int, int]


class AugmentedMemory(NamedTuple):
    """Memory of samples and of targets, and the mixer of pairs if there is one."""

    samples: BatchMemory
    targets: BatchMemory
    mixer: Mixer | None


def augmented_memory(
    split: Split,
    dtypes: tuple[np.dtype, np.dtype],
    normalizers: tuple[Normalizer | None, Normalizer | None],
    ring: Ring,
    device: Device,
    augment: Augment,
    used: tuple[bool, bool],
) -> AugmentedMemory:
    """Return the memory of batches; pairs of arguments are for samples and for targets, as in ``make_values``.

    Raises
    ------
    UserError
        If the samples do not go with an augmentation.
    """
    x, y, mixing = split.x, split.y, augment.mixing()
    mean = None if normalizers[0] is None else normalizers[0].mean
    augmenters: list[Augmenter | None] = [Augmenter(augment, x.shape[1:], x.dtype, mean) if used[0] else None, None]
    if used[1] and has_pixel_targets(y):
        augmenters[1] = Augmenter(augment, (*y.shape[1:], 1), y.dtype, fill=UNLABELED)
    classes = (0, augment.num_classes if y.ndim == 1 else 0)

    def memory(i: int, values: np.ndarray) -> BatchMemory:
        def make(ring: Ring, device: Device) -> Values:
            return Values(values, dtypes[i], normalizers[i], ring, device, augmenters[i] or None, used=used[i])

        return make(ring, device) if mixing is None else MixedValues(make, ring, device, classes[i], used=used[i])

    mixer = None if mixing is None else Mixer(mixing, augment.seed, tuple(x.shape[1:]))
    return AugmentedMemory(memory(0, x), memory(1, y), mixer)


class MixedValues:
    """Values of samples mixed with those of their partners, in buffers that are used in turn.

    Parameters
    ----------
    make : callable(ring, device) -> Values
        Makes the memory of the values that are mixed.
    num_classes : int
        If positive, values are classes, and batches hold the probabilities of all classes, float32.
    ring, device, used
        As in ``Values``.
    """

    def __init__(
        self,
        make: Callable[[tuple[int, int, int], Device], Values],
        ring: tuple[int, int, int],
        device: Device,
        num_classes: int = 0,
        *,
        used: bool,
    ):
        self._values = make((1, 1, 2 * ring[-1]), CPU)
        self.normalized_bytes = self._values.normalized_bytes
        self._classes, self._ring, self._device, self._used = num_classes > 0, ring[:-1], device, used
        self._shape = (num_classes,) if num_classes else self._values.shape
        self._dtype = np.dtype(np.float32) if num_classes else self._values.dtype
        self._capacity = -1
        self.reserve(ring[-1])

    def begin(self, seed: int, epoch: int) -> None:
        """Do nothing: arrays are the same in every epoch."""

    def reserve(self, capacity: int) -> None:
        """Have room for microbatches of ``capacity`` samples from now on; earlier batches keep their memory."""
        if capacity <= self._capacity:
            return
        self._capacity, shape = capacity, (capacity, *self._shape)
        self._values.reserve(2 * capacity)
        self._empty = None if self._used else np.broadcast_to(np.zeros((), self._dtype), shape)
        self._buffers = self._device.pinned_empty((*self._ring, *shape) if self._used else (0,), self._dtype)

    def take(
        self, place: tuple[int, int], indices: np.ndarray, epoch: int, width: int = 0, pairs: Pairs | None = None
    ) -> np.ndarray:
        """Return the mixtures of the values at ``indices`` in the buffer of (step, microbatch)."""
        assert pairs is not None
        n = len(indices)
        if self._empty is not None:
            return self._empty[:n]
        out: np.ndarray = self._buffers[place[0] % len(self._buffers), place[1], :n]
        both, places = np.unique(np.concatenate([indices, pairs.partners]), return_inverse=True)
        rows = self._values.take((0, 0), both, epoch)
        mix = mix_classes if self._classes else mix_values
        mix(rows, places[:n], places[n:], pairs, out)
        return out
