"""Planned messages of moves: a plan for each shape, with buffers of its own, which the moves of a group share.

A plan is taken when messages start, and given back when they have arrived and are copied: then the next move of the
same shapes has it. So a network of many layers has one plan for all of them, and two where two are in flight.

Sums of arrays in bf16 are added up in fp32 and rounded once, on the rank that owns a part of the result; messages are
bf16. A ring that adds on the way would round after every rank, or carry fp32, twice the bytes.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from time import perf_counter
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ...collectives.layout import Counts
from ...collectives.step import chunk_bounds
from ...comm.group import Group
from ...comm.schedule.plan import Request
from ...device import device_of, is_bf16
from ...errors import AgreedError
from ...ops.reduce import sum_over_ranks
from .rooms import Rooms

KEPT_PLANS = 256  # of a group that are not in flight: a U-Net of rows has 60 for each size of a batch
SHARED_BUFFERS = 8  # of a group, for sums in memory of the node
LEAST_SHARED = 1 << 16  # bytes
ALL_TO_ALL = "all_to_all/pairwise"  # sends every chunk straight to its place, so chunks may have any lengths
MOST_WHOLE = 1 << 15  # bytes of an array in bf16 that each rank sends to all, since fewer rounds count more than bytes
LINE = 8  # elements in bf16 of 16 bytes, which a thread of a GPU moves at a time


Key = tuple[Any, ...]


class Planned(NamedTuple):
    """A plan, and the chunks of its first buffer and of its result."""

    key: Key
    plan: Request
    outgoing: list[Any]
    incoming: list[Any]


class Pool:
    """The plans of the moves of a group that are not in flight, the one used longest ago first.

    Attributes
    ----------
    rooms : dict of float to Rooms
        Those for the plans of rows, by their slack.
    """

    def __init__(self, group: Group):
        self._group = group
        self.rooms: dict[float, Rooms] = {}
        self._idle: OrderedDict[Key, list[Planned]] = OrderedDict()
        self._num_shared = 0

    def take(self, key: Key, name: str, make: Callable[[], tuple[Request, list[Any], list[Any]]]) -> Planned:
        """Return a plan for ``key``, which begins with the device; all ranks call it together, and may make one."""
        if idle := self._idle.get(key):
            return idle.pop()
        self._compare(key[1:], name)
        if sum(map(len, self._idle.values())) >= KEPT_PLANS:
            oldest = next(each for each, plans in self._idle.items() if plans)
            self._group.release(self._idle[oldest].pop().plan)
        return Planned(key, *make())

    def give_back(self, planned: Planned) -> None:
        """Take back a plan whose messages have arrived."""
        self._idle.setdefault(planned.key, []).append(planned)
        self._idle.move_to_end(planned.key)

    def buffer(self, x: Any) -> Any:
        """Return memory for a sum of ``x``; of few lengths it is common to the ranks of a node, which saves two copies.

        That of the node is kept until the process ends.
        """
        if x.nbytes < LEAST_SHARED or self._num_shared == SHARED_BUFFERS or self._group.has_devices:
            return device_of(x).empty((x.size,), x.dtype)
        self._num_shared += 1
        return self._group.shared_empty((x.size,), x.dtype)

    def free(self) -> None:
        """Release all plans that are not in flight; all ranks call it together."""
        for plans in self._idle.values():
            for planned in plans:
                self._group.release(planned.plan)
        self._idle.clear()

    def release(self, part: object) -> None:
        """Release the plans that are not in flight and whose key has this part; all ranks call it together."""
        for key in [key for key in self._idle if part in key]:
            for planned in self._idle.pop(key):
                self._group.release(planned.plan)

    def _compare(self, key: Key, name: str) -> None:
        """Compare a new key over the ranks, which have had the same keys so far.

        Raises
        ------
        AgreedError
            On all ranks, with the first difference: their messages would not fit.
        """
        keys = self._group.all_gather(key)
        for rank, other in enumerate(keys):
            if other != keys[0]:
                one, two = (" ".join(map(str, k[1:])) for k in (keys[0], other))
                first, second = self._group.name_of(0), self._group.name_of(rank)
                raise AgreedError(f"{name}: {first} begins {one}, but {second} begins {two}")


_POOLS: "WeakKeyDictionary[Group, Pool]" = WeakKeyDictionary()


def pool_of(group: Group) -> Pool:
    """Return the pool of a group."""
    if group not in _POOLS:
        _POOLS[group] = Pool(group)
    return _POOLS[group]


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
        self._pool = pool_of(group)
        self.messages = self.bytes_sent = 0

    def start_sum(self, x: Any, algorithm: str) -> Callable[[Any], None]:
        """Start the sum of ``x``, which is copied, over the ranks; return the function that waits and writes it.

        Where x is bf16, all ranks get the same bits, too, whatever the ``algorithm``.
        """
        if is_bf16(x):
            return self._start_sum_of_bf16(x)

        def make() -> tuple[Request, list[Any], list[Any]]:
            buffer = self._pool.buffer(x)
            plan = self._group.plan_all_reduce(buffer, algorithm, what=self._name)
            return plan, [plan.result], [plan.result]

        key = f"{algorithm} all-reduce", x.shape, x.dtype.str
        planned = _start(self._pool.take((device_of(x), self._name, *key), self._name, make), [(0, x)])
        return lambda out: self.finish(planned, [(0, out)])

    def start_part_of_sum(
        self, algorithm: str, key: Key, counts: Counts, put: Iterable[tuple[int, Any]], *, like: Any
    ) -> Callable[[Any], None]:
        """Start the sum over the ranks of arrays that are put into chunks, of which each rank gets its own.

        Return the function that waits for this rank's chunk and writes it. Parameters are those of ``run``.
        """
        rank, size = self._group.rank, self._group.size
        if not is_bf16(like):
            planned = self.start(algorithm, key, counts, put, like=like)
            return lambda out: self.finish(planned, [(rank, out)])
        own = counts[0][rank]
        turned = self.start(ALL_TO_ALL, ("part of a sum", *key), [counts[0], [own] * size], put, like=like)

        def wait(out: Any) -> None:
            self.finish(turned, ())
            sum_over_ranks(turned.plan.result.reshape(size, own), out.reshape(own))

        return wait

    def _start_sum_of_bf16(self, x: Any) -> Callable[[Any], None]:
        """Sum an array on the owners of its parts, or where it is short on all ranks."""
        rank, size, flat = self._group.rank, self._group.size, x.reshape(-1)
        if size == 2 or x.nbytes <= MOST_WHOLE:  # of two ranks each sends as many bytes, but in one round
            lengths, key = [[x.size] * size], ("all of a sum", x.size)
            planned = self.start("all_gather/bruck", key, lengths, [(rank, flat)], like=x)

            def wait_for_all(out: Any) -> None:
                self.finish(planned, ())
                sum_over_ranks(planned.plan.result.reshape(size, x.size), out.reshape(-1))

            return wait_for_all
        parts = [_lines(x.size, size, r) for r in range(size)]
        lengths = [[part.stop - part.start for part in parts]]
        put = [(r, flat[part]) for r, part in enumerate(parts)]
        wait_for_part = self.start_part_of_sum("", ("sum", x.size), lengths, put, like=x)

        def wait(out: Any) -> None:
            gathered = self._planned("all_gather/ring", ("sum", x.size), lengths, like=x)
            wait_for_part(gathered.outgoing[rank])
            gathered.plan.start()
            self.finish(gathered, ())
            out.reshape(-1)[...] = gathered.plan.result

        return wait

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

        return _start(self._planned(algorithm, key, counts, like=like), put)

    def _planned(self, algorithm: str, key: Key, counts: Counts, *, like: Any) -> Planned:
        """Return a plan that is not in flight."""

        def make() -> tuple[Request, list[Any], list[Any]]:
            buffer = device_of(like).empty((sum(counts[0]),), like.dtype)
            plan = self._group.plan_watched(algorithm, buffer, self._name, counts=counts)
            return plan, _chunks(buffer, counts[0]), _chunks(plan.result, counts[-1])

        key = algorithm, *key, like.dtype.str
        return self._pool.take((device_of(like), self._name, *key), self._name, make)

    def finish(self, planned: Planned, take: Iterable[tuple[int, Any]], *, add: bool = False) -> None:
        """Wait for what ``start`` began, and take arrays out of the chunks of its result.

        They hold it up to the next ``start`` of any move of the group.
        """
        begin = perf_counter()
        planned.plan.wait()
        self._group.waited += perf_counter() - begin
        for chunk, target in take:
            arrived = planned.incoming[chunk][: target.size].reshape(target.shape)
            if add:
                target += arrived
            else:
                target[...] = arrived
        self.messages += planned.plan.messages
        self.bytes_sent += planned.plan.bytes_sent
        self._pool.give_back(planned)

    def release(self, part: object) -> None:
        """Release the plans of the group's moves that are not in flight and whose key has this part."""
        self._pool.release(part)

    def free(self) -> None:
        """Release all plans of the group's moves that are not in flight; the next call makes them again."""
        self._pool.free()


def _start(planned: Planned, put: Iterable[tuple[int, Any]]) -> Planned:
    for chunk, source in put:
        planned.outgoing[chunk][: source.size].reshape(source.shape)[...] = source
    planned.plan.start()
    return planned


def _chunks(buffer: Any, counts: Sequence[int]) -> list[Any]:
    return [buffer[start:stop] for start, stop in pairwise(accumulate(counts, initial=0))]


def _lines(num_elements: int, size: int, rank: int) -> slice:
    """Return the elements of a rank's part, in whole lines."""
    lines = chunk_bounds(-(-num_elements // LINE), size, rank)
    return slice(min(num_elements, lines.start * LINE), min(num_elements, lines.stop * LINE))


def flat_size(shape: Sequence[int]) -> int:
    """Return the number of elements of an array of this shape, as a Python int."""
    return int(np.prod(shape, dtype=np.int64))
