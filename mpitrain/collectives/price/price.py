"""Price of a collective: predicted seconds for an algorithm, number of ranks, length and machine.

Textbook formulas (Thakur, Rabenseifner & Gropp 2005; Chan, Heimlich, Purkayastha & van de Geijn 2007) give one line
for one algorithm; the price here follows the schedule itself, so that a user's algorithm has one as well.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import UserError
from ..algorithm import Algorithm
from ..combinators import on_elements
from ..step import Schedule, Step
from .calibration import Calibration, load_calibration
from .pattern import Pattern, find_pattern
from .periodic import pattern_times
from .program import MAX_STEPS, Program
from .topology import Network, Switch
from .vectorized import Times, wave_times

FOLLOWED = 4_000_000
CHUNKS = 10  # in a list, that take as long to make as a step
SHORTENED = 200_000  # steps up to which chunks without an element are looked for
ELEMENT_BYTES = 4.0  # of float32
EXACT, BY_SYMMETRY, EXTRAPOLATED = "exact", "by symmetry", "extrapolated"


@dataclass(frozen=True)
class Price:
    """Predicted cost of a collective.

    Parameters
    ----------
    algorithm : str
    size : int
        P, the number of ranks.
    num_bytes : float
    seconds : float
        Until the last rank is done.
    num_rounds : int
        Messages one after the other on the longest chain.
    num_messages : int
        Of all ranks together.
    bytes_sent : float
        By the rank that sends most.
    how : str
        "exact": every message was followed; "by symmetry": some ranks stand for all, as a sample of ranks has
        shown; "extrapolated": besides, the rounds of a long repetition had not settled.
    """

    algorithm: str
    size: int
    num_bytes: float
    seconds: float
    num_rounds: int
    num_messages: int
    bytes_sent: float
    how: str


class Pricer:
    """An algorithm at one number of ranks, prepared for prices at many lengths and on many machines.

    Parameters
    ----------
    algorithm : Algorithm
    size : int
        P, the number of ranks.
    periods : tuple of int
        Numbers of ranks after which a very large schedule may repeat (the ranks of a node).
    followed : int
        Up to how many steps of all ranks every one is followed; above, some ranks stand for all if ranks repeat.
    most : int
        Up to how many steps of all ranks every one is followed where ranks do not repeat.

    Raises
    ------
    ScheduleError
        If sends and receives do not fit.
    UserError
        If there are too many messages to follow, and the ranks do not repeat.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        size: int,
        *,
        periods: tuple[int, ...] = (),
        followed: int = FOLLOWED,
        most: int = MAX_STEPS,
    ):
        self.algorithm, self.size = algorithm, size
        self._program: Program | None = None
        self._pattern: Pattern | None = None
        if _has_more(algorithm, size, followed):
            self._pattern = find_pattern(algorithm, size, periods)
        if self._pattern is None:
            if _has_more(algorithm, size, most):
                raise UserError(
                    f"{algorithm.name} at {size:,} ranks takes more than {most:,} steps, and its ranks do not "
                    "repeat: too many to price one by one"
                )
            self._program = Program.of(algorithm, size)

    def price(self, num_bytes: float, calibration: Calibration, topology: Switch | None = None) -> Price:
        """Return the price at ``num_bytes``; without a topology, one switch and nodes as in the calibration."""
        network = Network(calibration.at(num_bytes), topology or default_topology(calibration), self.size)
        chunk_bytes = num_bytes * self.algorithm.chunk_share(self.size)
        times: Times
        if self._program is not None:
            work, chunk_bytes = self._without_empty(self._program, num_bytes, chunk_bytes)
            how = EXACT
            times = wave_times(work, chunk_bytes, network)
            counted: Program | Pattern = work
        else:
            assert self._pattern is not None
            found = pattern_times(self._pattern, chunk_bytes, network)
            times, how = found, BY_SYMMETRY if found.settled else EXTRAPOLATED
            counted = self._pattern
        launch = calibration.launch if self.size > 1 else 0.0
        return Price(
            self.algorithm.name,
            self.size,
            num_bytes,
            seconds=launch + float(times.finish.max()),
            num_rounds=times.num_rounds,
            num_messages=counted.num_messages,
            bytes_sent=counted.most_sent * chunk_bytes,
            how=how,
        )

    def _without_empty(self, program: Program, num_bytes: float, chunk_bytes: float) -> tuple[Program, float]:
        """Return the program and the length of its chunks, without those that have no element, which are not sent."""
        num_elements = math.ceil(num_bytes / ELEMENT_BYTES)
        num_chunks = self.algorithm.num_chunks(self.size) // self.algorithm.buffers
        goal = self.algorithm.goal
        sent_if_empty = not goal.once or not goal.same_chunks  # a barrier's; all_to_all's have an element each
        if num_elements >= num_chunks or len(program.kind) > SHORTENED or sent_if_empty:
            return program, chunk_bytes
        return Program.of(on_elements(self.algorithm, num_chunks, num_elements), self.size), ELEMENT_BYTES


def price(
    algorithm: Algorithm,
    size: int,
    num_bytes: float,
    calibration: Calibration | None = None,
    topology: Switch | None = None,
) -> Price:
    """Return the price of one collective.

    Parameters
    ----------
    algorithm : Algorithm
    size : int
        P, the number of ranks.
    num_bytes : float
        Length n of the buffer.
    calibration : Calibration, optional
        By default the table that mpitrain ships.
    topology : Switch or another topology, optional
        By default one switch, with as many ranks on a node as where the calibration was measured.

    Examples
    --------
    >>> from mpitrain.collectives import find
    >>> machine = Calibration.line(alpha=1e-6, beta=1e-9, gamma=0.0)
    >>> round(1e6 * price(find("ring"), 4, 1000, machine).seconds, 6)  # 2(P-1) alpha + 2(P-1)/P n beta
    7.5
    """
    calibration = calibration or load_calibration()
    topology = topology or default_topology(calibration)
    pricer = Pricer(algorithm, size, periods=(topology.ranks_per_node,))
    return pricer.price(num_bytes, calibration, topology)


def default_topology(calibration: Calibration) -> Switch:
    """Return one switch, with as many ranks on a node as the calibration had."""
    return Switch(ranks_per_node=max(1, calibration.ranks_per_node))


def _has_more(schedule: Schedule, size: int, limit: int) -> bool:
    """Tell from a few ranks whether all together take more than ``limit`` steps, or as much time."""
    ranks = sorted({0, 1, size // 3, size // 2, size - 1} & set(range(size)))
    lengths = sorted(_length(schedule(rank, size), limit // size + 2) for rank in ranks)
    return lengths[len(lengths) // 2] * size > limit


def _length(steps: Iterator[Step], most: int) -> float:
    """Return the number of steps, up to ``most``; long lists of chunks count as several."""
    length = 0.0
    for step in steps:
        length += 1.0 + sum(len(chunks) for chunks in (step.send, step.recv) if isinstance(chunks, tuple)) / CHUNKS
        if length >= most:
            break
    return length
