"""A schedule as GOAL text, the input of LogGOPSim: another simulator's word on our prices.

    num_ranks 2
    rank 0 {
    l1: send 500b to 1 tag 0
    l2: recv 500b from 1 tag 0
    l3: calc 250
    l3 requires l1
    l3 requires l2
    }

A step's send and receive both require all that ends the step before; a reduction, or a copy of
scattered chunks, is a calc, in nanoseconds (GOAL text has no word for one that runs behind messages).
Overheads and gaps are LogGOPSim's own options: the first line names those that fit the calibration.
Source: Hoefler, Schneider & Lumsdaine 2010, "LogGOPSim: simulating large-scale applications in the LogGOPS model".
"""

from collections.abc import Iterator

import numpy as np

from ..algorithm import Algorithm
from ..step import Step, as_chunks, chunk_runs
from .calibration import Calibration
from .exact import works


def goal_text(algorithm: Algorithm, size: int, num_bytes: float, calibration: Calibration) -> Iterator[str]:
    """Yield the lines of the GOAL text of ``algorithm`` on ``size`` ranks over ``num_bytes``.

    Bytes and nanoseconds are rounded to whole numbers, as GOAL has no others.
    """
    wire = calibration.inside if size <= calibration.ranks_per_node else calibration.across
    line = wire.one_way.fit()
    overhead = max(wire.send_overhead, wire.recv_overhead)
    numbers = (
        f"-L {_ns(line.alpha)} -o {_ns(overhead)} -g {_ns(wire.gap)} -G {1e9 * line.beta:.6g} -S {int(wire.eager)}"
    )
    yield f"// {algorithm.name}, {size} ranks, {num_bytes:.0f} bytes: LogGOPSim {numbers}"
    yield f"num_ranks {size}"
    chunk_bytes = num_bytes * algorithm.chunk_share(size)
    for rank in range(size):
        yield f"rank {rank} {{"
        yield from _rank_lines(algorithm, rank, size, chunk_bytes, calibration)
        yield "}"


def _rank_lines(
    algorithm: Algorithm, rank: int, size: int, chunk_bytes: float, calibration: Calibration
) -> Iterator[str]:
    number = 0
    ended: list[str] = []
    for step in algorithm(rank, size):
        if len(chunk_runs(step.send)) > 1:
            number += 1
            yield f"l{number}: calc {_ns(float(calibration.reduce(chunk_bytes * len(as_chunks(step.send)))))}"
            yield from (f"l{number} requires {label}" for label in ended)
            ended = [f"l{number}"]
        begun: list[str] = []
        for word, peer, chunks in (("send", step.send_to, step.send), ("recv", step.recv_from, step.recv)):
            if peer is None:
                continue
            number += 1
            begun.append(f"l{number}")
            way = "to" if word == "send" else "from"
            yield f"l{number}: {word} {round(chunk_bytes * len(as_chunks(chunks)))}b {way} {peer} tag 0"
            yield from (f"l{number} requires {label}" for label in ended)
        if works(step):
            number += 1
            yield f"l{number}: calc {_work(step, chunk_bytes, calibration)}"
            yield from (f"l{number} requires {label}" for label in begun)
            begun = [f"l{number}"]
        ended = begun or ended


def _work(step: Step, chunk_bytes: float, calibration: Calibration) -> int:
    num_bytes = np.array(chunk_bytes * len(as_chunks(step.recv)))
    return _ns(float(calibration.work(num_bytes, np.array(step.send_to is not None))))


def _ns(seconds: float) -> int:
    return max(0, round(1e9 * seconds))
