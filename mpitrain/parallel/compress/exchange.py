"""Exchange of buckets in stages, as requests that are started while backward still runs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...device import device_of
from ...ops.places import clear_places
from ..buckets import Bucket, BucketQueue
from .codec import BucketPlan, Span


class BucketExchange:
    """The stages of one bucket as a request.

    All ranks must start their plans in one order. So the second stage does not begin when the first has ended, which
    is at a different time on each rank, but when the next bucket is started.

    Parameters
    ----------
    plan : BucketPlan
    clear_gaps : callable()
        Clears memory between parameters, to which a codec may have decoded other numbers than zeros (a sign, or the NaN
        of a whole block).
    before : BucketExchange or None
        That of the bucket before.
    """

    def __init__(self, plan: BucketPlan, clear_gaps: Callable[[], None], before: "BucketExchange | None"):
        self._stages, self._end, self._clear_gaps, self._before = plan.stages, plan.end, clear_gaps, before
        requests = [stage.request for stage in plan.stages]
        self.algorithm = " and ".join(dict.fromkeys(request.algorithm for request in requests))
        self.messages = sum(request.messages for request in requests)
        self.bytes_sent = sum(request.bytes_sent for request in requests)
        self.result: Any = None
        self._at = len(self._stages)

    def start(self) -> None:
        """Start the first stage."""
        if self._before is not None:
            self._before.advance()
        self._at = 0
        self._begin()

    def advance(self) -> None:
        """Wait for the first stage and start the last one, if there are two."""
        while self._at < len(self._stages) - 1:
            self._stages[self._at].request.wait()
            self._at += 1
            self._begin()

    def poll(self) -> bool:
        """Progress without waiting; True when the sums are there."""
        if self._at < len(self._stages) and self._stages[self._at].request.poll():
            self._finish_last()
        return self._at == len(self._stages)

    def wait(self) -> None:
        """Wait until the sums are there."""
        self.advance()
        if self._at < len(self._stages):
            self._stages[self._at].request.wait()
            self._finish_last()

    def free(self) -> None:
        """Free the requests."""
        for stage in self._stages:
            stage.request.free()

    def _begin(self) -> None:
        stage = self._stages[self._at]
        stage.work()
        stage.request.start()

    def _finish_last(self) -> None:
        """Write the sums after the last stage."""
        if self._at == len(self._stages) - 1:
            self._at += 1
            self._end()
            self._clear_gaps()


def gap_clearer(span: Span) -> Callable[[], None]:
    """Return a function that clears gradients and errors between parameters; on a device by one launch for each."""
    arrays, gaps = [array for array in (span.gradient, span.error) if array.size], span.gaps()
    if isinstance(span.gradient, np.ndarray):
        return partial(_fill, [array[gap] for array in arrays for gap in gaps])
    each = [np.arange(gap.start, gap.stop, dtype=np.int32) for gap in gaps]
    return partial(_clear, arrays, device_of(span.gradient).from_host(np.concatenate([np.empty(0, np.int32), *each])))


def _fill(views: Sequence[np.ndarray]) -> None:
    for view in views:
        view.fill(0)


def _clear(arrays: Sequence[np.ndarray], places: np.ndarray) -> None:
    for array in arrays:
        clear_places(array, places)


class ExchangeQueue(BucketQueue):
    """Queue of exchanges, which progresses all that are in flight."""

    def __init__(self, buckets: Sequence[Bucket], exchanges: Sequence[BucketExchange], before: Callable[[], None]):
        super().__init__(buckets, exchanges, before)
        self._exchanges = exchanges

    def ready(self, p: Any) -> None:
        """Mark the gradient of ``p`` as ready; start complete buckets."""
        super().ready(p)
        for exchange in self._exchanges[self._done + 1 : self._started]:
            exchange.poll()

    def finish(self) -> None:
        """Wait until all are done; the last one's second stage need not wait for the others."""
        self._start_ready()
        self._exchanges[-1].advance()
        super().finish()
