"""Exercise 4: no rank sends more than 2(P-1)/P of the buffer. The first lap is here; the chunks must go round again."""

from collections.abc import Iterator

from mpitrain.collectives import Step, algorithm


@algorithm(rounds=lambda size: 2 * (size - 1), bytes=lambda size: 2 * (size - 1) / size)
def ring(rank: int, size: int) -> Iterator[Step]:
    """All-reduce in which every rank talks to its neighbors only, one chunk at a time."""
    right, left = (rank + 1) % size, (rank - 1) % size
    for k in range(size - 1):
        yield Step(
            send_to=right,
            send=(rank - k) % size,
            recv_from=left,
            recv=(rank - k - 1) % size,
            reduce=True,
        )
