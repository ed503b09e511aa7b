"""Counts of a service in Prometheus' text format (version 0.0.4)."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from .replicas import Replica

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """Numbers of values up to each of some bounds, and the sum of all values.

    Examples
    --------
    >>> histogram = Histogram((1, 2))
    >>> for value in (1, 2, 9):
    ...     histogram.add(value)
    >>> list(histogram.lines("size"))
    ['size_bucket{le="1"} 1', 'size_bucket{le="2"} 2', 'size_bucket{le="+Inf"} 3', 'size_sum 12', 'size_count 3']
    """

    def __init__(self, bounds: Sequence[float]):
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Yield the lines of the metric ``name``."""
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.9g}"
        yield f"{name}_count {total}"


class Metrics:
    """Counts of requests and batches."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds, self._batches = Histogram(SECONDS), Histogram(SAMPLES)
        self.dropped = 0

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer to a request for a known path."""
        self._requests[path, status] += 1
        self._seconds.add(seconds)

    def batch(self, samples: int) -> None:
        """Count a batch that was given to a replica."""
        self._batches.add(samples)

    def text(self, replicas: Iterable[Replica], *, queued: int, in_flight: int, draining: bool) -> str:
        """Return all of it."""
        lines = []

        def metric(name: str, kind: str, about: str, values: Iterable[str]) -> None:
            lines.extend([f"# HELP mpitrain_{name} {about}", f"# TYPE mpitrain_{name} {kind}", *values])

        def by_ranks(name: str, value: str) -> list[str]:
            return [
                f'mpitrain_{name}{{ranks="{"+".join(map(str, one.ranks))}"}} {getattr(one, value):.9g}'
                for one in replicas
            ]

        answers = [
            f'mpitrain_requests_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self._requests.items())
        ]
        metric("requests_total", "counter", "Requests that were answered.", answers)
        metric(
            "dropped_total", "counter", "Requests whose client went away.", [f"mpitrain_dropped_total {self.dropped}"]
        )
        about = "Time from a request's arrival to its answer."
        metric("request_seconds", "histogram", about, self._seconds.lines("mpitrain_request_seconds"))
        metric("batch_samples", "histogram", "Samples of a batch.", self._batches.lines("mpitrain_batch_samples"))
        metric("queue_samples", "gauge", "Samples that wait for a free rank.", [f"mpitrain_queue_samples {queued}"])
        metric("in_flight", "gauge", "Requests that are not answered yet.", [f"mpitrain_in_flight {in_flight}"])
        metric("draining", "gauge", "1 while the service ends.", [f"mpitrain_draining {int(draining)}"])
        metric("rank_batches_total", "counter", "Batches or texts of ranks.", by_ranks("rank_batches_total", "jobs"))
        metric("rank_samples_total", "counter", "Samples of ranks.", by_ranks("rank_samples_total", "samples"))
        metric("rank_seconds_total", "counter", "Time of ranks computing.", by_ranks("rank_seconds_total", "seconds"))
        metric("rank_late", "gauge", "1 for ranks that do not reply.", by_ranks("rank_late", "is_late"))
        return "\n".join([*lines, ""])
