"""Combinators of schedules: relabeled ranks and chunks, reversed steps, and folding to a power of two."""

import functools
from collections.abc import Callable, Iterable, Iterator

from .step import Chunks, Schedule, Step, around, chunk_bounds, chunk_runs


def relabeled(
    steps: Iterable[Step], rank_of: Callable[[int], int], chunks_of: Callable[[Chunks], Chunks] | None = None
) -> Iterator[Step]:
    """Yield ``steps`` among the ranks ``rank_of(0), rank_of(1), ...`` and on the chunks ``chunks_of(...)``."""
    for send_to, send, recv_from, recv, reduce in steps:
        if chunks_of is not None:
            send = None if send is None else chunks_of(send)
            recv = None if recv is None else chunks_of(recv)
        to = None if send_to is None else rank_of(send_to)
        source = None if recv_from is None else rank_of(recv_from)
        yield Step(to, send, source, recv, reduce)


def rerooted(schedule: Schedule, root: int, num_chunks: Callable[[int], int], owners: bool) -> Schedule:
    """Return ``schedule``, whose root is rank 0, for another ``root``: every rank is shifted by ``root``.

    With ``owners``, chunks belong to ranks and are rotated with them.
    """

    def rotated(rank: int, size: int) -> Iterator[Step]:
        count = num_chunks(size) if owners else 1
        by = root * count // size
        inner = schedule((rank - root) % size, size)
        rotate = functools.partial(_rotate, by=by, count=count) if by else None
        yield from relabeled(inner, lambda v: (v + root) % size, rotate)

    return rotated


def _rotate(chunks: Chunks, by: int, count: int) -> Chunks:
    """Return ``chunks`` rotated by ``by`` of ``count``, as a range if possible."""
    if chunks is None or isinstance(chunks, int):
        return chunks if chunks is None else (chunks + by) % count
    if isinstance(chunks, range) and chunks:
        return around(chunks.start + by, len(chunks), count)
    rotated: list[int | range] = []
    for run in chunk_runs(chunks):
        part = around(run.start + by, len(run), count)
        rotated += part if isinstance(part, tuple) else [part]
    return tuple(rotated)


def on_elements(schedule: Schedule, num_chunks: int, num_elements: int) -> Schedule:
    """Return ``schedule`` with the elements of a short buffer as its chunks; empty chunks are not sent.

    Parameters
    ----------
    schedule : Schedule
    num_chunks : int
        Number of chunks of one buffer.
    num_elements : int
    """

    def elements(chunks: Chunks) -> Chunks:
        found: list[range] = []
        for run in chunk_runs(chunks):
            while run:
                buffer, first = divmod(run.start, num_chunks)
                stop = min(run.stop, (buffer + 1) * num_chunks)
                inside = chunk_bounds(num_elements, num_chunks, range(first, stop - buffer * num_chunks))
                found.append(range(buffer * num_elements + inside.start, buffer * num_elements + inside.stop))
                run = range(stop, run.stop)
        runs = chunk_runs(tuple(found))
        return runs[0] if len(runs) == 1 else tuple(runs) or None

    def short(rank: int, size: int) -> Iterator[Step]:
        for s in schedule(rank, size):
            send, recv = elements(s.send), elements(s.recv)
            to, source = (s.send_to if send else None), (s.recv_from if recv else None)
            yield Step(to, send, source, recv, reduce=s.reduce and recv is not None)

    return short


def backwards(steps: Iterable[Step], reduce: bool = False) -> Iterator[Step]:
    """Yield ``steps`` from the last to the first, with every message reversed.

    A broadcast becomes a reduce and an all-gather a reduce-scatter (with ``reduce``), a scatter becomes a gather
    (without).
    """
    for send_to, send, recv_from, recv, _ in reversed(list(steps)):
        yield Step(recv_from, recv, send_to, send, reduce and send_to is not None)


def power_of_two(size: int) -> int:
    """Return the largest power of two that is at most ``size``."""
    return 1 << (size.bit_length() - 1)


def folded(schedule: Schedule, rank: int, size: int) -> Iterator[Step]:
    """Yield an all-reduce for any P, by one for a power of two, P'.

    Of the first 2(P - P') ranks, each even one sends its vector to its neighbor, which works for both, and receives
    the result: two more rounds with the whole vector. The vector is cut into P' chunks.
    """
    core = power_of_two(size)
    pairs, everything = size - core, range(core)
    paired = rank < 2 * pairs
    if paired and rank % 2 == 0:
        yield Step(send_to=rank + 1, send=everything)
        yield Step(recv_from=rank + 1, recv=everything)
        return
    if paired:
        yield Step(recv_from=rank - 1, recv=everything, reduce=True)
    inner = schedule(rank // 2 if paired else rank - pairs, core)
    yield from relabeled(inner, lambda v: 2 * v + 1 if v < pairs else v + pairs)
    if paired:
        yield Step(send_to=rank - 1, send=everything)


def fold_rounds(size: int) -> int:
    """Return the rounds that folding adds: 2, or 0 for a power of two."""
    return 0 if size == power_of_two(size) else 2


def halve_and_double(rank: int, size: int, peers: list[int], upper: list[bool]) -> Iterator[Step]:
    """Yield a butterfly: in round k, exchange halves with ``peers[k]`` and keep the upper or the lower half.

    The same rounds backwards distribute the sums. Requires a power of two and one chunk per rank.
    """
    mine, path = range(size), []
    for peer, keep_upper in zip(peers, upper, strict=True):
        middle = (mine.start + mine.stop) // 2
        halves = range(mine.start, middle), range(middle, mine.stop)
        mine, other = halves[keep_upper], halves[not keep_upper]
        path.append(Step(peer, mine, peer, other))
        yield Step(peer, other, peer, mine, reduce=True)
    yield from reversed(path)
