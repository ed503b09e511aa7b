"""Timing of kernels with the cache state of training: not filled by the last round.

One round runs every contender once; each time a buffer larger than the L2 cache is written first, then an event, the
contender, an event. The write also keeps the GPU busy while the host queues the timed work, so that no launch latency
is part of it. Contenders take turns at going first, since clocks drop as a chip warms up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..launch import watched

WARM_UP = 3
LAUNCH_SECONDS = 20  # after which a launch hangs
FLUSH_BYTES = 1 << 29  # 10 L2 caches of an H100, and 0.2 ms for the host to get ahead

Contender = Callable[[], None]


class Stopwatch:
    """Times contenders on ``device``.

    Parameters
    ----------
    device : CudaDevice or a stand-in
    flush_bytes : int
        Bytes written before each run.
    """

    def __init__(self, device: Any, flush_bytes: int = FLUSH_BYTES):
        self._device = device
        self._flushed = device.empty((flush_bytes // 4,))

    def seconds(self, contenders: Sequence[Contender], repeat: int) -> np.ndarray:
        """Return the seconds of each run, (contenders, repeat)."""
        device, count = self._device, len(contenders)
        with watched(LAUNCH_SECONDS):  # a kernel that hangs is named once, and later ones run as in training
            for contender in contenders:
                contender()
        runs = []
        for turn in range(WARM_UP + repeat):
            for i in range(count):
                which = (turn + i) % count
                self._flushed.fill(0)
                begin = device.compute.record(timed=True)
                contenders[which]()
                runs.append((turn, which, begin, device.compute.record(timed=True)))
            device.synchronize()  # bounds the queue
        found = np.empty((count, WARM_UP + repeat))
        for turn, which, begin, end in runs:
            found[which, turn] = end.seconds_since(begin)
        return found[:, WARM_UP:]

    def medians(self, contenders: Sequence[Contender], repeat: int) -> list[float]:
        """Return the median seconds of each."""
        return [float(x) for x in np.median(self.seconds(contenders, repeat), axis=1)]

    def copy_rate(self, repeat: int = 20) -> float:
        """Return the bytes per second that a large copy in the device's memory reads and writes."""
        half = self._flushed.size // 2
        source, target = self._flushed[:half], self._flushed[half : 2 * half]
        seconds = self.medians([lambda: self._device.compute.copy(target, source)], repeat)[0]
        return float(2 * source.nbytes / seconds)
