"""Synchronization of shortened gradients: every rank gets the same sums, to the bit, and updates all weights."""

from collections.abc import Mapping

import numpy as np

from ...arena import Arena
from ...comm.group import Group
from ...comm.schedule.plan import Request
from ...device import device_of
from ...ops.carry import add_error
from ...plain_text import binary_size
from ...step_header import StepHeader
from ..buckets import Bucket, cut_buckets, name_bucket
from ..gradient_sync import PlannedSync, WholeUpdateSync
from ..local_sync import LocalSync
from .codec import Codec, Span
from .exchange import BucketExchange, ExchangeQueue, gap_clearer
from .guard import plan_guarded
from .scale import DeviceScale, StepScale

RING_PART = 64 * 1024  # bytes of a rank's part from which a ring's many messages cost less than Bruck's copies
SETTLED_AT_ONCE = 1 << 22  # elements


class CompressedSync(WholeUpdateSync, PlannedSync):
    """Synchronization that sums ``arena.gradients`` over the ranks as messages of a codec.

    Parameters
    ----------
    arena : Arena
        Of float32.
    group : Group
    codec : Codec
    text : str
        The codec as the user wrote it.
    all_reduce : str
        As in ``Group.plan_all_reduce``, for messages that are sums.
    bucket_bytes : int
    """

    def __init__(self, arena: Arena, group: Group, codec: Codec, text: str, all_reduce: str, bucket_bytes: int):
        self.buckets = cut_buckets(arena, bucket_bytes)
        self.slots = make_slots(arena, codec)
        self.reasons = list[str]()
        self._scale, self._settled = StepScale() if arena.on_host else DeviceScale(arena), True
        self._header: Request | None = None
        if not codec.linear:
            by = all_reduce if group.has_devices else "native"  # auto, or nccl
            header = arena.gradients[: StepHeader.SIZE]
            self._header = group.plan_all_reduce(header, by, what="sums of the step")
        self._message_bytes = 0
        exchanges = list[BucketExchange]()
        for number, bucket in enumerate(self.buckets):
            span = self._span(arena, codec, number, bucket)
            wire = GroupWire(group, all_reduce, name_bucket(arena, number, bucket), self.reasons)
            plan = plan_guarded(codec, text, span, wire)
            exchanges.append(BucketExchange(plan, gap_clearer(span), exchanges[-1] if exchanges else None))
            self._message_bytes += plan.message_bytes
        self.algorithms = [f"{exchange.algorithm} of {text}" for exchange in exchanges]
        plans: list[Request] = [*exchanges, *([self._header] if self._header is not None else [])]
        WholeUpdateSync.__init__(self, arena)
        PlannedSync.__init__(self, arena, group, plans, ExchangeQueue(self.buckets, exchanges, self._before))

    def _span(self, arena: Arena, codec: Codec, number: int, bucket: Bucket) -> Span:
        start = max(bucket.start, StepHeader.SIZE)
        part, head = slice(start, bucket.stop), slice(bucket.start if codec.linear else start, start)
        return Span(
            number,
            start,
            arena.gradients[head.start : bucket.stop],
            arena.gradients[head],
            arena.gradients[part],
            [p for p in arena.parameters if bucket.start <= p.start < bucket.stop],
            self._scale,
            {name: slot[part] for name, slot in self.slots.items()},
        )

    def _before(self) -> None:
        """Read this rank's weight before the first bucket is sent."""
        self._settled = False
        self._scale.step = self.step
        self._scale.read(self._arena)
        if self._header is not None:
            self._header.start()

    def finish(self) -> None:
        """Wait for all sums."""
        self._queue.finish()
        if self._header is not None:
            self._header.wait()
        if self.queued_norm is not None:
            self.queued_norm.queue()

    def settle(self) -> None:
        """Give each rank the mean of all errors by weight, so that any ranks carry on the same sum."""
        if not self._settled:  # a second time would round them again
            settle_errors(self.slots, self._group, self._scale.host_weight())
        self._settled = True

    def describe(self) -> str:
        """Return a description in a few words."""
        names, size = " and ".join(sorted(set(self.algorithms))), binary_size(self._arena.gradients.nbytes)
        share = 100 * self._message_bytes / max(1, self._arena.gradients.nbytes)
        return f"{names}, {share:.2g}% of {size} in {len(self.buckets)} bucket{'s' * (len(self.buckets) > 1)}"


class LocalCompressedSync(LocalSync):
    """Synchronization of a single rank, which sends nothing: errors of a run on more ranks join its first gradient.

    Parameters
    ----------
    arena : Arena
    codec : Codec
    """

    def __init__(self, arena: Arena, codec: Codec):
        super().__init__(arena)
        self.slots = make_slots(arena, codec)
        self._began = False

    def finish(self) -> None:
        """Add what is left of an earlier run, once."""
        error, gradients = self.slots.get("error"), self._arena.gradients
        if error is not None and not self._began:
            weight = float(self._arena.device.to_host(gradients[:1])[0])
            part = slice(StepHeader.SIZE, None)
            if weight > 0:
                add_error(gradients[part], error[part], weight, None)
                error.fill(0)
                self._began = True
        super().finish()


class GroupWire:
    """Requests over the ranks of a group for one bucket, watched under its name.

    Parameters
    ----------
    group : Group
    all_reduce : str
    what : str
        Names of the gradients.
    reasons : list of str
        Reasons of ``auto`` are added to it.
    """

    def __init__(self, group: Group, all_reduce: str, what: str, reasons: list[str]):
        self._group, self._all_reduce, self._what, self._reasons = group, all_reduce, what, reasons
        self.rank, self.size = group.rank, group.size
        self._by_nccl = group.takes_nccl(all_reduce)

    def sum(self, message: np.ndarray, name: str) -> Request:
        """Return the all-reduce of a message."""
        algorithm = self._all_reduce
        if algorithm == "auto":
            choice = self._group.choose(message.nbytes)
            algorithm = choice.name
            if choice.reason not in self._reasons:
                self._reasons.append(choice.reason)
        return self._group.plan_all_reduce(message, algorithm, what=self._what + name)

    def turn(self, message: np.ndarray, name: str) -> Request:
        """Return the all-to-all of a message."""
        algorithm = "nccl" if self._by_nccl else "pairwise"
        return self._group.plan_watched(f"all_to_all/{algorithm}", message, self._what + name)

    def gather(self, message: np.ndarray, name: str) -> Request:
        """Return the all-gather of a message."""
        algorithm = "ring" if message.nbytes >= RING_PART * self.size else "bruck"
        algorithm = "nccl" if self._by_nccl else algorithm
        return self._group.plan_watched(f"all_gather/{algorithm}", message, self._what + name)


def make_slots(arena: Arena, codec: Codec) -> Mapping[str, np.ndarray]:
    """Return the slots of a codec, all zero."""
    return {name: device_of(arena.gradients).zeros((arena.size,), arena.dtype) for name in codec.slot_names}


def settle_errors(slots: Mapping[str, np.ndarray], group: Group, weight: float) -> None:
    """Make the errors equal: their mean by weight, whose bits are the same on all ranks."""
    error = slots.get("error")
    total = float(group.sum(np.array([weight], np.float64))[0])
    if error is None or not total > 0:
        return
    for start in range(0, error.size, SETTLED_AT_ONCE):
        part = error[start : start + SETTLED_AT_ONCE]
        part *= np.float32(weight / total)
        group.all_reduce(part, "ring")
