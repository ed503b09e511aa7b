"""Solutions of the five exercises (there are others)."""

from collections.abc import Iterator

from mpitrain.collectives import Step, algorithm


def pairs(rank: int, size: int) -> Iterator[Step]:
    """Exercise 1: one step that sends and receives at once."""
    if size == 2:
        peer = 1 - rank
        yield Step(send_to=peer, send=range(size), recv_from=peer, recv=range(size), reduce=True)


def flat(rank: int, size: int) -> Iterator[Step]:
    """Exercise 2."""
    everything = range(size)
    if rank > 0:
        yield Step(send_to=0, send=everything)
        yield Step(recv_from=0, recv=everything)
        return
    for peer in range(1, size):
        yield Step(recv_from=peer, recv=everything, reduce=True)
    for peer in range(1, size):
        yield Step(send_to=peer, send=everything)


@algorithm(rounds=lambda size: 2 * (size - 1).bit_length())
def tree(rank: int, size: int) -> Iterator[Step]:
    """Exercise 3: in round k, ranks at distance 2^k; who has sent is out, and comes back in reverse order."""
    everything, children, distance = range(size), [], 1
    while distance < size and not rank & distance:
        if rank + distance < size:
            children.append(rank + distance)
        distance *= 2
    for child in children:
        yield Step(recv_from=child, recv=everything, reduce=True)
    if rank > 0:
        yield Step(send_to=rank - distance, send=everything)
        yield Step(recv_from=rank - distance, recv=everything)
    for child in reversed(children):
        yield Step(send_to=child, send=everything)


@algorithm(rounds=lambda size: 2 * (size - 1), bytes=lambda size: 2 * (size - 1) / size)
def ring(rank: int, size: int) -> Iterator[Step]:
    """Exercise 4: after the first lap rank r has the whole sum of chunk r + 1."""
    right, left = (rank + 1) % size, (rank - 1) % size
    for first, reduce in ((rank, True), (rank + 1, False)):
        for k in range(size - 1):
            yield Step(right, (first - k) % size, left, (first - k - 1) % size, reduce)


def power_of_two(size: int) -> int:
    """Return the largest power of two that is at most ``size``."""
    return 1 << (size.bit_length() - 1)


@algorithm(
    num_chunks=power_of_two,
    rounds=lambda size: 2 * (size.bit_length() - 1) + (0 if size == power_of_two(size) else 2),
    bytes=lambda size: 3,
)
def own(rank: int, size: int) -> Iterator[Step]:
    """Exercise 5: halve and double; ranks beyond the power of two lean on a rank inside it."""
    core = power_of_two(size)
    everything = range(core)
    if rank >= core:
        yield Step(send_to=rank - core, send=everything)
        yield Step(recv_from=rank - core, recv=everything)
        return
    if rank + core < size:
        yield Step(recv_from=rank + core, recv=everything, reduce=True)
    mine, way_back, distance = everything, [], core // 2
    while distance:
        middle = (mine.start + mine.stop) // 2
        low, high = range(mine.start, middle), range(middle, mine.stop)
        mine, other = (high, low) if rank & distance else (low, high)
        yield Step(rank ^ distance, other, rank ^ distance, mine, reduce=True)
        way_back.append(Step(rank ^ distance, mine, rank ^ distance, other))
        distance //= 2
    yield from reversed(way_back)
    if rank + core < size:
        yield Step(send_to=rank + core, send=everything)
