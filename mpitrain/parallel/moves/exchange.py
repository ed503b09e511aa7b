"""Planned messages of a move: one plan for each shape, with buffers of its own, used again in every step."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from ...collectives.layout import Counts
from ...comm.group import Group
from ...comm.schedule.plan import Request
from ...device import device_of
from ...errors import AgreedError

KEPT_PLANS = 16  # of one move: forward and backward at a few shapes


class Planned(NamedTuple):
    """A plan, and the chunks of its first buffer and of its result."""

    plan: Request
    outgoing: list[Any]
    incoming: list[Any]


class Exchange:
    """The messages of one move; all ranks of its group call each method together.

    Parameters
    ----------
    group : Group
    name : str
        Name of the move, for messages about ranks that wait or disagree.

    Attributes
    ----------
    messages, bytes_sent : int
        Messages and bytes that this rank has sent so far.
    """

    def __init__(self, group: Group, name: str):
        self._group, self._name = group, name
        self._kept: OrderedDict[tuple[Any, ...], Planned] = OrderedDict()
        self.messages = self.bytes_sent = 0

    def all_reduce(self, x: Any, algorithm: str, out: Any) -> None:
        """Write the sum of ``x`` over the ranks to ``out``."""
        self.finish(self.start_all_reduce(x, algorithm), [(0, out)])

    def start_all_reduce(self, x: Any, algorithm: str) -> Planned:
        """Start the sum of ``x``, which is copied, over the ranks; return the plan in flight for ``finish``."""
        key = (f"{algorithm} all-reduce", x.shape, x.dtype.str)
        planned = self._kept.get(key)
        if planned is None:
            self._make_room(key)
            buffer = device_of(x).empty((x.size,), x.dtype)
            plan = self._group.plan_all_reduce(buffer, algorithm, what=self._name)
            planned = self._kept[key] = Planned(plan, [plan.result], [plan.result])
        self._kept.move_to_end(key)
        _start(planned, [(0, x)])
        return planned

    def run(
        self,
        algorithm: str,
        key: tuple[Any, ...],
        counts: Counts,
        put: Iterable[tuple[int, Any]],
        take: Iterable[tuple[int, Any]],
        *,
        like: Any,
        add: bool = False,
    ) -> None:
        """Put arrays into chunks, run a collective, and take arrays out of the chunks of its result.

        Parameters
        ----------
        algorithm : str
            Name of a schedule.
        key : tuple
            All that the lengths depend on, the same on all ranks: the plan is kept under it.
        counts : Counts
            Elements of each chunk of this rank.
        put, take : iterable of (chunk, array)
            Sources, and targets; one that is shorter than its chunk is the start of it.
        like : array
            An array of the dtype and device of the messages.
        add : bool
            Add to the targets instead of overwriting them.
        """
        self.finish(self.start(algorithm, key, counts, put, like=like), take, add=add)

    def start(
        self,
        algorithm: str,
        key: tuple[Any, ...],
        counts: Counts,
        put: Iterable[tuple[int, Any]],
        *,
        like: Any,
    ) -> Planned:
        """Begin what ``run`` does, and return the plan in flight for ``finish``: between them, the rank may compute."""
        key = (algorithm, *key, like.dtype.str)
        planned = self._kept.get(key)
        if planned is None:
            self._make_room(key)
            buffer = device_of(like).empty((sum(counts[0]),), like.dtype)
            plan = self._group.plan_watched(algorithm, buffer, self._name, counts=counts)
            planned = Planned(plan, _chunks(buffer, counts[0]), _chunks(plan.result, counts[-1]))
            self._kept[key] = planned
        self._kept.move_to_end(key)
        _start(planned, put)
        return planned

    def finish(self, planned: Planned, take: Iterable[tuple[int, Any]], *, add: bool = False) -> None:
        """Wait for what ``start`` began, and take arrays out of the chunks of its result."""
        planned.plan.wait()
        for chunk, target in take:
            arrived = planned.incoming[chunk][: target.size].reshape(target.shape)
            if add:
                target += arrived
            else:
                target[...] = arrived
        self.messages += planned.plan.messages
        self.bytes_sent += planned.plan.bytes_sent

    def free(self) -> None:
        """Release all plans; the next call makes them again."""
        while self._kept:
            self._group.release(self._kept.popitem(last=False)[1].plan)

    def _make_room(self, key: tuple[Any, ...]) -> None:
        """Compare a new key over the ranks, which have the same keys so far, and release the plan used longest ago.

        Raises
        ------
        AgreedError
            On all ranks, with the first difference: their messages would not fit.
        """
        keys = self._group.all_gather(key)
        for rank, other in enumerate(keys):
            if other != keys[0]:
                one, two = (" ".join(map(str, k)) for k in (keys[0], other))
                first, second = self._group.name_of(0), self._group.name_of(rank)
                raise AgreedError(f"{self._name}: {first} begins {one}, but {second} begins {two}")
        if len(self._kept) == KEPT_PLANS:
            self._group.release(self._kept.popitem(last=False)[1].plan)


def _start(planned: Planned, put: Iterable[tuple[int, Any]]) -> None:
    for chunk, source in put:
        planned.outgoing[chunk][: source.size].reshape(source.shape)[...] = source
    planned.plan.start()


def _chunks(buffer: Any, counts: Sequence[int]) -> list[Any]:
    return [buffer[start:stop] for start, stop in pairwise(accumulate(counts, initial=0))]


def flat_size(shape: Sequence[int]) -> int:
    """Return the number of elements of an array of this shape, as a Python int."""
    return int(np.prod(shape, dtype=np.int64))
