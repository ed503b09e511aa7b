"""GOAL text: read back by a parser of its own and replayed, it costs what the price says."""

import re
from collections import defaultdict, deque
from dataclasses import dataclass, field

import pytest

from mpitrain.collectives import ALL_REDUCE, find
from mpitrain.collectives.price import Calibration, Curve, Wire, goal_text, price

ALPHA, BETA, GAMMA = 1000, 2, 1  # whole nanoseconds, as GOAL wants them
WIRE = Wire.line(ALPHA * 1e-9, BETA * 1e-9)
CALIBRATION = Calibration(WIRE, WIRE, Curve.line(0.0, GAMMA * 1e-9))


@dataclass
class Operation:
    kind: str
    amount: int
    peer: int = -1
    requires: list = field(default_factory=list)
    end: float | None = None


def parse(lines):
    """Return the operations of each rank by label."""
    ranks = []
    for line in lines:
        line = line.partition("//")[0].strip()
        if not line or line == "}" or line.startswith("num_ranks"):
            continue
        if re.fullmatch(r"rank \d+ \{", line):
            ranks.append({})
        elif found := re.fullmatch(r"(\w+) requires (\w+)", line):
            ranks[-1][found[1]].requires.append(found[2])
        elif found := re.fullmatch(r"(\w+): (send|recv) (\d+)b (?:to|from) (\d+) tag 0", line):
            ranks[-1][found[1]] = Operation(found[2], int(found[3]), int(found[4]))
        else:
            found = re.fullmatch(r"(\w+): calc (\d+)", line)
            ranks[-1][found[1]] = Operation("calc", int(found[2]))
    return ranks


def replay(ranks):
    """Return the nanoseconds until all is done: messages need both ends, and are matched in order."""
    queues = defaultdict(deque)
    for rank, operations in enumerate(ranks):
        for operation in operations.values():
            if operation.kind == "recv":
                queues[operation.peer, rank].append((rank, operation))
    pairs = []
    for rank, operations in enumerate(ranks):
        for operation in operations.values():
            if operation.kind == "send":
                pairs.append((rank, operation, *queues[rank, operation.peer].popleft()))
    assert not any(queues.values())

    def ready(rank, operation):
        ends = [ranks[rank][label].end for label in operation.requires]
        return None if None in ends else max(ends, default=0)

    moved = True
    while moved:
        moved = False
        for rank, operations in enumerate(ranks):
            for operation in operations.values():
                begin = ready(rank, operation)
                if operation.kind == "calc" and operation.end is None and begin is not None:
                    operation.end, moved = begin + operation.amount, True
        for source, send, target, recv in pairs:
            begins = ready(source, send), ready(target, recv)
            if send.end is None and None not in begins:
                assert send.amount == recv.amount
                send.end = recv.end = max(begins) + ALPHA + BETA * send.amount
                moved = True
    ends = [operation.end for operations in ranks for operation in operations.values()]
    assert None not in ends
    return max(ends)


@pytest.mark.parametrize("name", ALL_REDUCE)
def test_a_replay_of_the_text_has_the_same_price(name):
    algorithm = find(name)
    for size in (2, 4, 7):
        num_bytes = 16 * algorithm.num_chunks(size)
        text = list(goal_text(algorithm, size, num_bytes, CALIBRATION))
        expected = 1e9 * price(algorithm, size, num_bytes, CALIBRATION).seconds
        assert replay(parse(text)) == pytest.approx(expected, rel=1e-9)


def test_the_text_itself():
    lines = list(goal_text(find("tree"), 2, 8, CALIBRATION))
    assert lines[1:] == [
        "num_ranks 2",
        "rank 0 {",
        "l1: recv 8b from 1 tag 0",
        "l2: calc 8",
        "l2 requires l1",
        "l3: send 8b to 1 tag 0",
        "l3 requires l2",
        "}",
        "rank 1 {",
        "l1: send 8b to 0 tag 0",
        "l2: recv 8b from 0 tag 0",
        "l2 requires l1",
        "}",
    ]
    assert "LogGOPSim -L 1000 -o 0 -g 0 -G 2 -S 0" in lines[0]
