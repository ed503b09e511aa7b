"""ZeRO stage 2 by messages: of the gradients, too, a rank keeps its share only.

    backward | reduce-scatter of each bucket, as it is ready | its memory goes back | ... | update | all-gather

The gradients are views of one array as ever, whose memory comes with the first write (``device.reserved``). When a
bucket has been summed, all but this rank's chunk of it is given back, and the next bucket takes that memory. No more
than two buckets are in messages at a time.

Every microbatch is summed by itself: M of them take M times the bytes, and a rank keeps its chunks of the sums so far.

Memory of weights w, slots k w: w (1 + (1 + k) / P), and the buckets on their way.

Source: Rajbhandari et al. 2020, arXiv 1910.02054 (stage 2).
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from ..arena import Arena, Parameter
from ..comm.group import Group
from ..comm.schedule.plan import Request
from ..comm.schedule.rounds import Scratch
from ..device.reserved import ReservedMemory
from ..plain_text import binary_size, count
from ..step_header import StepHeader
from .buckets import Bucket, BucketQueue
from .zero1 import Zero1

IN_FLIGHT = 2  # buckets in messages: one more fills while they travel


class PassQueue(BucketQueue):
    """Queue that starts the request of each bucket once in every pass, always in the order of their numbers.

    A bucket that some pass does not complete waits for the next one, or for ``finish``: all ranks start as many.

    Parameters
    ----------
    buckets, requests : sequence
    parameters : sequence of Parameter
        In the order of the buckets.
    landed : callable(int)
        Called with the number of a bucket whose sum has arrived.
    """

    def __init__(
        self,
        buckets: Sequence[Bucket],
        requests: Sequence[Request],
        parameters: Sequence[Parameter],
        landed: Callable[[int], None],
    ):
        super().__init__(buckets, requests)
        self._members: list[list[Parameter]] = [[] for _ in buckets]
        for p, number in zip(parameters, self._bucket_of, strict=True):
            self._members[number].append(p)
        self._landed, self._flying, self._total = landed, deque[int](), 0
        self.seconds = 0.0  # waited during backward
        self.written: set[int] = set()  # buckets into which something may have been written

    def begin(self, passes: int = 1) -> None:
        """Begin a step of so many backward passes."""
        super().begin()
        self.written.clear()
        self._total = passes * len(self._buckets)

    def open(self, p: Parameter) -> None:
        """Have the gradient of ``p`` ready to be written: called before."""
        number = self._bucket_of[p.index]
        self._land_until(number)
        self.written.add(number)

    def ready(self, p: Parameter) -> None:
        """Mark the gradient of ``p`` as ready: start complete buckets, and progress those in flight."""
        self._missing[self._bucket_of[p.index]] -= 1
        while self._started < self._total and self._missing[self._started % len(self._buckets)] <= 0:
            self._start(self._started % len(self._buckets))
        while self._flying and self._requests[self._flying[0]].poll():
            self._land()

    def finish(self) -> None:
        """Start all that is left, with zeros where nothing was written, and wait until all are done."""
        before = self.seconds
        while self._started < self._total:
            number = self._started % len(self._buckets)
            self._land_until(number)
            for p in self._members[number]:
                if not p.accumulate:
                    p.grad.fill(0)
            self._start(number)
        while self._flying:
            self._land()
        self.seconds = before  # the caller knows how long this has taken

    def _start(self, number: int) -> None:
        while self._flying and (number == 0 or len(self._flying) >= IN_FLIGHT):  # neighbors have memory of their own
            self._land()
        for p in self._members[number]:  # so that the next pass overwrites it
            p.forget()
        self._missing[number] = len(self._members[number])
        self._requests[number].start()
        self._flying.append(number)
        self._started += 1

    def _land_until(self, number: int) -> None:
        while number in self._flying:
            self._land()

    def _land(self) -> None:
        number, begin = self._flying.popleft(), time.perf_counter()
        self._requests[number].wait()
        self.seconds += time.perf_counter() - begin
        self.written.discard(number)
        self._landed(number)


class Zero2(Zero1):
    """Synchronization by chunks, with gradients in memory that is given back.

    Parameters
    ----------
    arena : Arena
        The same on all ranks; its gradients move.
    group : Group
    scatter, gather : str
        Algorithms: reduce_scatter/NAME and all_gather/NAME.
    buckets : list of Bucket
    """

    each_pass = True

    def __init__(self, arena: Arena, group: Group, scatter: str, gather: str, buckets: list[Bucket]):
        self.memory = ReservedMemory(arena.size, arena.dtype, len(buckets))
        arena.move(arena.values, self.memory.array)
        super().__init__(arena, group, scatter, gather, buckets)
        self._sums = [np.empty(0, arena.dtype) for _ in self.buckets]  # of earlier microbatches
        self._left: list[int] = []
        for p in arena.parameters:
            p.watch("grad", self._open)

    def begin(self, passes: int = 1) -> None:
        """Begin a step of so many backward passes."""
        self.passes = passes
        self._left = [passes] * len(self.buckets)
        self._pass_queue.begin(passes)

    def take_seconds(self) -> float:
        """Return the seconds of forward and backward since the last call that were spent on other ranks."""
        seconds, self._pass_queue.seconds = self._pass_queue.seconds, 0.0
        return seconds

    def free(self) -> None:
        """Free the MPI requests."""
        super().free()
        for p in self._arena.parameters:
            p.watch("grad", None)

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step."""
        return sum(plan.bytes_sent * times for plan, times in self._in_a_step())

    @property
    def messages_per_step(self) -> int:
        """Messages that this rank sends in one step (calls, where MPI does it)."""
        return sum(plan.messages * times for plan, times in self._in_a_step())

    @property
    def exchanges(self) -> list[tuple[str, int, int]]:
        """Algorithm, bytes and messages of each plan on this rank, in one step."""
        return [(p.algorithm, p.bytes_sent * times, p.messages * times) for p, times in self._in_a_step()]

    def _in_a_step(self) -> list[tuple[Request, int]]:
        """Return each plan, and how often it is started in a step."""
        scatters = [(plan, self.passes) for plan in self._scatters]
        return [(self._header, 1), *scatters, *((plan, 1) for plan in self._gathers)]

    @property
    def kept_bytes(self) -> dict[str, tuple[int, str]]:
        """The most bytes of gradients that are in memory at once, with a remark."""
        sizes = sorted(b.stop - b.start for b in self.buckets)[-1 - IN_FLIGHT :]
        own = sum(part.stop - part.start for part in self.own)
        elements = min(self._arena.size, own + sum(sizes))
        remark = f"1/{self._group.size} of them and {count(len(sizes), 'bucket')} on the way"
        return {"gradients": (elements * self._arena.dtype.itemsize, remark)}

    @property
    def extra_bytes(self) -> int:
        """Bytes of the sums of earlier microbatches."""
        return sum(array.nbytes for array in self._sums)

    def describe(self) -> str:
        """Return a description in a few words."""
        size = binary_size(self._arena.gradients.nbytes)
        names, buckets = " and ".join(self.algorithms), count(len(self.buckets), "bucket")
        each = f", {self.passes} times a step" if self.passes > 1 else ""
        return f"{names} of {size} in {buckets}{each}, each rank keeps 1/{self._group.size}"

    def _plan_scatters(self, group: Group, scatter: str, spans: list[tuple[slice, str]]) -> list[Request]:
        arena, longest = self._arena, max(span.stop - span.start for span, _ in spans)
        scratch = [Scratch(longest, arena.dtype) for _ in range(IN_FLIGHT)]
        return [
            group.plan_watched(scatter, arena.gradients[span], name, scratch=scratch[number % IN_FLIGHT])
            for number, (span, name) in enumerate(spans)
        ]

    def _make_queue(self, scatters: Sequence[Request]) -> BucketQueue:
        self._pass_queue = PassQueue(self.buckets, scatters, self._arena.parameters, self._landed)
        return self._pass_queue

    def _open(self, p: Parameter) -> None:
        self._pass_queue.open(p)

    def _landed(self, number: int) -> None:
        """Keep this rank's chunk of a bucket, added to those of earlier microbatches, and give back the others."""
        own = self._arena.gradients[self.own[number]]
        self._left[number] -= 1
        if self.passes > 1:
            sums, first = self._sums[number], self._left[number] == self.passes - 1
            if sums.size != own.size:
                sums = self._sums[number] = np.empty_like(own)
            if self._left[number] == 0:
                np.add(sums, own, out=own)
            elif first:
                sums[...] = own
            else:
                np.add(sums, own, out=sums)
        self._give_back(number)

    def _give_back(self, number: int) -> None:
        bucket, own, written = self.buckets[number], self.own[number], self._pass_queue.written
        start, stop = max(bucket.start, StepHeader.SIZE), bucket.stop
        if number > 0 and number - 1 not in written:
            start = self.own[number - 1].stop
        if number + 1 < len(self.buckets) and number + 1 not in written:
            stop = self.own[number + 1].start
        self.memory.give_back(slice(start, own.start))
        self.memory.give_back(slice(own.stop, stop))
