"""The price of a pattern: one column of P clocks a round, and none at all for rounds that only repeat.

The clocks of the next round are maxima of sums of those of this one (a max-plus map), so if a round, or a few in
turn, adds the same seconds to every clock, then so does each repetition: the rest is a multiplication, and exact.
If messages cost the same for every rank of a class (one switch, say), g clocks stand for all P.
"""

from dataclasses import dataclass

import numpy as np

from .pattern import Pattern
from .topology import Network
from .waves import Times

MAX_PERIOD = 8
MAX_UNSETTLED = 2_047
TOLERANCE = 1e-9


@dataclass(frozen=True)
class PatternTimes(Times):
    """Times of a pattern.

    Parameters
    ----------
    settled : bool
        False if some repeating rounds had not settled after ``MAX_UNSETTLED``: then the last seconds a round were
        taken for the rest.
    """

    settled: bool = True


@dataclass(frozen=True)
class _Round:
    """A round on C clocks: arrays (C,) of places and seconds."""

    receiver: np.ndarray
    sender: np.ndarray
    sends: np.ndarray
    receives: np.ndarray
    before: np.ndarray
    gap: np.ndarray
    cost: np.ndarray
    eager: np.ndarray
    work: np.ndarray
    hidden: np.ndarray


def pattern_times(pattern: Pattern, chunk_bytes: float, network: Network) -> PatternTimes:
    """Price ``pattern`` with chunks of ``chunk_bytes``."""
    kind, first = pattern.kinds()
    rounds = [_make_round(pattern, int(k), chunk_bytes, network) for k in first]
    rounds = _fold(rounds, pattern)
    clocks = _Clocks(len(rounds[0].cost) if rounds else 1)
    settled = True
    at = 0
    while at < len(kind):
        period, turns = _repetition(kind, at)
        settled &= clocks.repeat([rounds[k] for k in kind[at : at + period]], turns)
        at += period * turns
    return PatternTimes(clocks.finish, len(kind), settled)


def _make_round(pattern: Pattern, k: int, chunk_bytes: float, network: Network) -> _Round:
    size = pattern.size
    rank = np.arange(size)
    blocks = size // pattern.num_classes
    columns = pattern.send_by, pattern.recv_by, pattern.send_chunks, pattern.packed, pattern.worked, pattern.hidden
    send_by, recv_by, send_chunks, packed, worked, hidden = (np.tile(column[:, k], blocks) for column in columns)
    sends, receives = send_by != 0, recv_by != 0
    receiver, sender = (rank + send_by) % size, (rank + recv_by) % size
    sides = rank, np.where(sends, receiver, -1), np.where(receives, sender, -1)
    num_bytes = send_chunks * chunk_bytes
    cost, eager = np.zeros(size), np.zeros(size, bool)
    message = rank[sends], receiver[sends], num_bytes[sends]
    cost[sends] = network.transfer(*message, (receives | sends[receiver])[sends])
    eager[sends] = network.eager(*message)
    reduce = network.calibration.reduce
    packing, waiting = (np.where(chunks, reduce(chunks * chunk_bytes), 0.0) for chunks in (packed, hidden))
    work = np.where(worked, network.calibration.work(worked * chunk_bytes, sends), 0.0)
    before, waiting = network.overhead(*sides) + packing, network.calibration.overlap * waiting
    return _Round(receiver, sender, sends, receives, before, network.gap(*sides), cost, eager, work, waiting)


def _fold(rounds: list[_Round], pattern: Pattern) -> list[_Round]:
    """Keep only as many clocks as differ: the fewest classes on which all costs repeat."""
    values = [v for r in rounds for v in (r.cost, r.before, r.gap, r.eager.astype(float))]
    for factor in (1, 2, 4, 8, 16, 32, 64):
        num = pattern.num_classes * factor
        if pattern.size % num == 0 and all(_tiled(v, num) for v in values):
            return [
                _Round(r.receiver[:num] % num, r.sender[:num] % num, *(getattr(r, name)[:num] for name in _COLUMNS))
                for r in rounds
            ]
    return rounds


_COLUMNS = ("sends", "receives", "before", "gap", "cost", "eager", "work", "hidden")


def _tiled(values: np.ndarray, period: int) -> bool:
    table = values.reshape(-1, period)
    return bool(np.all(np.abs(table - table[0]) <= TOLERANCE * np.abs(table[0])))


def _repetition(kind: np.ndarray, at: int) -> tuple[int, int]:
    """Return how many rounds from ``at`` on make a unit that repeats, and how often it does."""
    best = (1, 1)
    rest = kind[at:]
    for period in range(1, min(MAX_PERIOD, len(rest) // 2) + 1):
        differs = rest[period:] != rest[:-period]
        length = int(np.argmax(differs)) if differs.any() else len(differs)
        turns = 1 + length // period
        if turns > 1 and period * turns > best[0] * best[1]:
            best = (period, turns)
    return best


def _is_even(gained: np.ndarray) -> bool:
    return bool(np.ptp(gained) <= TOLERANCE * np.abs(gained).max())


class _Clocks:
    def __init__(self, num: int):
        self.finish = np.zeros(num)
        self._earliest = np.full(num, -np.inf)

    def repeat(self, unit: list[_Round], turns: int) -> bool:
        """Run the rounds of ``unit`` one after the other ``turns`` times; False if the end is extrapolated."""
        active = np.logical_or.reduce([r.sends | r.receives for r in unit])
        mark, marked = 0, self._state(active)  # an earlier moment to compare with, as in Brent's search for a cycle
        turn = 0
        while turn < turns:
            for r in unit:
                self._run(r)
            turn += 1
            state = self._state(active)
            if np.isfinite(marked).all() and _is_even(state - marked):
                leaps, turns = divmod(turns - turn, turn - mark)
                self._leap(active, leaps * float(state[0, 0] - marked[0, 0]))
                turn, mark = 0, turns
                marked = np.full_like(state, np.nan)
            elif turn * len(unit) >= MAX_UNSETTLED and turn < turns:
                self._leap(active, (turns - turn) / (turn - mark) * float(state[0].max() - marked[0].max()))
                return False
            elif turn >= 2 * mark:
                mark, marked = turn, state
        return True

    def _leap(self, active: np.ndarray, seconds: float) -> None:
        self.finish[active] += seconds
        self._earliest[active] += seconds

    def _state(self, active: np.ndarray) -> np.ndarray:
        return np.stack([self.finish[active], self._earliest[active]])

    def _run(self, r: _Round) -> None:
        posted = np.maximum(self.finish - r.hidden + r.before, self._earliest)
        arrival = np.where(r.eager, posted, np.maximum(posted, posted[r.receiver])) + r.cost
        end = np.where(r.sends & ~r.eager, arrival, posted)
        end = np.where(r.receives, np.maximum(end, arrival[r.sender]), end)
        end = np.maximum(end, posted + r.hidden) + r.work
        active = r.sends | r.receives
        self.finish = np.where(active, end, self.finish)
        self._earliest = np.where(active, posted + r.gap, self._earliest)
