"""Gradient buckets: adjacent parameters of the arena, summed over the ranks in one message each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ..arena import Arena, Parameter
from ..comm.schedule.plan import Request

FIRST_BUCKET_BYTES = 1 << 20  # a small first bucket lets the sending start early (Li et al. 2020, PyTorch DDP)


@dataclass(frozen=True)
class Bucket:
    """A slice of the arena, and the number of parameters that must be ready before it is sent.

    The first bucket starts with the arena's header; each ends where the next begins, padding included.

    Attributes
    ----------
    of_experts : bool
        True if ranks of axis expert have other parameters here: their gradients are not summed over it.
    """

    start: int
    stop: int
    num_parameters: int
    of_experts: bool = False


def cut_buckets(arena: Arena, bucket_bytes: int, first_bytes: int = FIRST_BUCKET_BYTES) -> list[Bucket]:
    """Return the buckets of ``arena`` in the order in which backward completes them.

    A bucket closes as soon as it holds ``bucket_bytes`` (the first: ``first_bytes``), or where the next parameter is of
    another kind (``Bucket.of_experts``); one parameter is never split.
    """
    buckets: list[Bucket] = []
    parameters = arena.parameters
    start = members = 0
    limit = min(first_bytes, bucket_bytes)
    if parameters and _is_of_experts(parameters[0]):  # the header is for all ranks
        buckets.append(Bucket(0, parameters[0].start, 0))
        start = parameters[0].start
    for p, after in zip_longest(parameters, parameters[1:]):
        members += 1
        end = arena.size if after is None else after.start
        kind = _is_of_experts(p)
        if (end - start) * arena.dtype.itemsize >= limit or after is None or _is_of_experts(after) != kind:
            buckets.append(Bucket(start, end, members, kind))
            start, members, limit = end, 0, bucket_bytes
    return buckets or [Bucket(0, arena.size, 0)]


def _is_of_experts(p: Parameter) -> bool:
    return p.shard is not None and p.shard.axis == "expert"


def name_bucket(arena: Arena, number: int, bucket: Bucket) -> str:
    """Return the names of a bucket's gradients, in the order in which backward completes them."""
    names = [p.name for p in arena.parameters if bucket.start <= p.start < bucket.stop]
    return f"bucket {number}: {' to '.join(dict.fromkeys([names[0], names[-1]]))}" if names else f"bucket {number}"


def find_gaps(parameters: Sequence[Parameter], span: slice) -> list[slice]:
    """Return the places between parameters in a part of the arena, from its start on: zeros must stay there."""
    held = [p for p in parameters if span.start <= p.start < span.stop]
    stops, starts = [p.stop for p in held], [*(p.start for p in held[1:]), span.stop]
    pairs = zip(stops, starts, strict=bool(held))
    return [slice(stop - span.start, start - span.start) for stop, start in pairs if stop < start]


class BucketQueue:
    """Queue that starts the request of each bucket once its parameters are ready, during backward.

    Always in index order, so that no rank needs to tell another which bucket comes next; ``before`` is called before
    the first.
    """

    def __init__(
        self, buckets: Sequence[Bucket], requests: Sequence[Request], before: Callable[[], None] = lambda: None
    ):
        self._buckets, self._requests, self._before = buckets, requests, before
        self._bucket_of = [i for i, b in enumerate(buckets) for _ in range(b.num_parameters)]
        self._missing: list[int] = []
        self._started = self._done = len(buckets)

    def begin(self) -> None:
        """Mark all gradients as missing, at the start of a step."""
        self._missing = [b.num_parameters for b in self._buckets]
        self._started = self._done = 0

    def ready(self, p: Parameter) -> None:
        """Mark the gradient of ``p`` as ready: start complete buckets, and progress those in flight."""
        self._missing[self._bucket_of[p.index]] -= 1
        self._start_ready()
        if self._done < self._started and self._requests[self._done].poll():
            self._done += 1

    def finish(self) -> None:
        """Wait until all are done."""
        self._start_ready()
        for request in self._requests[self._done :]:
            request.wait()
        self._done = len(self._requests)

    def _start_ready(self) -> None:
        while self._started < len(self._buckets) and self._missing[self._started] <= 0:
            if self._started == 0:
                self._before()
            self._requests[self._started].start()
            self._started += 1
