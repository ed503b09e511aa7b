"""Schedules of two ranks that communicate while the others wait, for calibration.

Every message is one chunk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...collectives import Step


@dataclass(frozen=True)
class Pair:
    """A pair of ranks, from the view of one of them."""

    rank: int
    peer: int
    is_first: bool


def ping_pong(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` round trips."""
    out, back = Step(send_to=pair.peer, send=0), Step(recv_from=pair.peer, recv=0)
    for _ in range(turns):
        yield from (out, back) if pair.is_first else (back, out)


def exchange(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` steps in which each rank sends the chunk that it has received in the previous step.

    Data that a core has just written are slow to read for another core: unchanged messages would seem several times
    faster than those of a collective.
    """
    for turn in range(turns):
        mine, theirs = (0, 1) if pair.is_first == (turn % 2 == 0) else (1, 0)
        yield Step(send_to=pair.peer, send=mine, recv_from=pair.peer, recv=theirs)


def exchange_and_reduce(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` steps in which each rank sends its chunk and adds the received one to it."""
    for _ in range(turns):
        yield Step(send_to=pair.peer, send=0, recv_from=pair.peer, recv=0, reduce=True)


def ping_pong_and_reduce(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` round trips in which received chunks are added: only one rank reduces at a time."""
    out, back = Step(send_to=pair.peer, send=0), Step(recv_from=pair.peer, recv=0, reduce=True)
    for _ in range(turns):
        yield from (out, back) if pair.is_first else (back, out)


def pipeline(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` steps that each reduce another chunk than the previous and the next one."""
    for turn in range(turns):
        mine, theirs = (0, 1) if pair.is_first == (turn % 4 < 2) else (1, 0)
        first = 2 * (turn % 2)
        yield Step(send_to=pair.peer, send=first + mine, recv_from=pair.peer, recv=first + theirs, reduce=True)


def walk(pair: Pair, turns: int, kind: str) -> Iterator[Step]:
    """Yield ``turns`` turns of a kind, each with two chunks of its own."""
    for turn in range(turns):
        mine, theirs = (2 * turn, 2 * turn + 1) if pair.is_first else (2 * turn + 1, 2 * turn)
        if kind in TAKING_TURNS:
            reduce = kind == "reduce_alone"
            out, back = Step(send_to=pair.peer, send=mine), Step(recv_from=pair.peer, recv=theirs, reduce=reduce)
            yield from (out, back) if pair.is_first else (back, out)
        else:
            yield Step(send_to=pair.peer, send=mine, recv_from=pair.peer, recv=theirs, reduce=kind == "reduce")


def flood(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` messages from the first to the second."""
    for _ in range(turns):
        if pair.is_first:
            yield Step(send_to=pair.peer, send=0)
        else:
            yield Step(recv_from=pair.peer, recv=0)


Body = Callable[[Pair, int], Iterator[Step]]
TAKING_TURNS = ("one_way", "reduce_alone")  # kinds with two steps a turn
NUM_CHUNKS: dict[Body, int] = {
    ping_pong: 1,
    ping_pong_and_reduce: 1,
    flood: 1,
    exchange: 2,
    exchange_and_reduce: 1,
    pipeline: 4,
}
