"""Price of a periodic schedule: one column of clocks per round, and none for repeated rounds.

The clocks of the next round are maxima of sums of those of this one (a max-plus map), so if a round, or a few in
turn, adds the same seconds to every clock, then so does each repetition: the rest is a multiplication, and exact.
If messages cost the same for every rank of a class (one switch, say), a few clocks stand for all P.
"""

import math
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from .pattern import Pattern
from .topology import Network
from .vectorized import Times, wave_times

MAX_PERIOD = 8
MAX_UNSETTLED = 2_047  # rounds; fewer where they are of many clocks
MAX_CLOCKS = 50_000_000  # of all those rounds
MAX_WORK = 5_000_000  # clocks of one round of each kind: some 60 bytes each
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
    """Price ``pattern`` with chunks of ``chunk_bytes``.

    Raises
    ------
    UserError
        If ranks differ by their places in the network, and there are too many kinds of rounds to follow all ranks.
    """
    num_clocks = _num_clocks(pattern, network)
    kind, first = _kinds(pattern, network, num_clocks)
    if len(first) * num_clocks > MAX_WORK:
        raise UserError(
            f"{pattern.size:,} ranks with {len(first):,} kinds of rounds are too many to price where ranks differ by "
            "their places: take fewer ranks, or the topology switch"
        )
    rounds = [_make_round(pattern, int(k), chunk_bytes, network, num_clocks) for k in first]
    if pattern.head is not None:
        head = wave_times(pattern.head, chunk_bytes, network)
        clocks, num_rounds = _Clocks(head.finish.copy(), head.earliest.copy()), head.num_rounds + len(kind)
    else:
        rounds = _fold(rounds, pattern)
        num = len(rounds[0].cost) if rounds else 1
        clocks, num_rounds = _Clocks(np.zeros(num), np.full(num, -np.inf)), len(kind)
    settled = True
    at = 0
    while at < len(kind):
        period, turns = _repetition(kind, at)
        settled &= clocks.repeat([rounds[k] for k in kind[at : at + period]], turns)
        at += period * turns
    return PatternTimes(clocks.finish, num_rounds, clocks.earliest, settled)


def _num_clocks(pattern: Pattern, network: Network) -> int:
    """Return how many ranks stand for all: those after which both the schedule and the network repeat."""
    size, period = pattern.size, network.topology.repeats
    if pattern.head is not None or not period:
        return size
    num = math.lcm(pattern.num_classes, period)
    return num if size % num == 0 and num * pattern.num_rounds <= MAX_WORK else size


def _kinds(pattern: Pattern, network: Network, num_clocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the kind of each round, (S,), and one round of each kind: rounds of a kind cost the same."""
    columns = [pattern.send_by, pattern.recv_by, pattern.kind]
    if num_clocks < pattern.size:
        rank = np.arange(num_clocks)[:, None]
        columns = [np.tile(column, (num_clocks // pattern.num_classes, 1)) for column in columns]
        for side in (0, 1):  # of a peer, only its class counts, and whether it is on another node
            by = columns[side]
            away = network.crosses(rank, (rank + by) % pattern.size)
            columns[side] = np.where(by == 0, -1, 2 * (by % num_clocks) + away)
    _, first, kind = np.unique(np.concatenate(columns), axis=1, return_index=True, return_inverse=True)
    return kind.reshape(-1), first


def _make_round(pattern: Pattern, k: int, chunk_bytes: float, network: Network, num_clocks: int) -> _Round:
    size, rank = pattern.size, np.arange(num_clocks)
    columns = pattern.send_by, pattern.recv_by, pattern.kind
    send_by, recv_by, kind = (np.tile(column[:, k], num_clocks // pattern.num_classes) for column in columns)
    sent, _, packed, worked, hidden = (pattern.kinds[kind] * chunk_bytes).T
    sends, receives = send_by != 0, recv_by != 0
    target, source = (rank + send_by) % size, (rank + recv_by) % size
    sides = rank, np.where(sends, target, -1), np.where(receives, source, -1)
    receiver, sender = target % num_clocks, source % num_clocks
    cost, eager = np.zeros(num_clocks), np.zeros(num_clocks, bool)
    message = rank[sends], target[sends], sent[sends]
    period = num_clocks if num_clocks < size else None
    cost[sends] = network.transfer(*message, (receives | sends[receiver])[sends], period)
    eager[sends] = network.eager(*message)
    calibration = network.calibration
    packing, waiting = (np.where(part, calibration.reduce(part), 0.0) for part in (packed, hidden))
    work = np.where(worked, calibration.work(worked, sends), 0.0)
    before, waiting = network.overhead(*sides) + packing, calibration.overlap * waiting
    gap = network.gap(*sides, sent)
    return _Round(receiver, sender, sends, receives, before, gap, cost, eager, work, waiting)


def _fold(rounds: list[_Round], pattern: Pattern) -> list[_Round]:
    """Keep only as many clocks as differ: the fewest classes on which all costs repeat."""
    values = [v for r in rounds for v in (r.cost, r.before, r.gap, r.eager.astype(float))]
    if not values or len(values[0]) < pattern.size:
        return rounds
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
    def __init__(self, finish: np.ndarray, earliest: np.ndarray):
        self.finish, self.earliest = finish, earliest
        self._most = min(MAX_UNSETTLED, max(64, MAX_CLOCKS // len(finish)))

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
            elif turn * len(unit) >= self._most and turn < turns:
                self._leap(active, (turns - turn) / (turn - mark) * float(state[0].max() - marked[0].max()))
                return False
            elif turn >= 2 * mark:
                mark, marked = turn, state
        return True

    def _leap(self, active: np.ndarray, seconds: float) -> None:
        self.finish[active] += seconds
        self.earliest[active] += seconds

    def _state(self, active: np.ndarray) -> np.ndarray:
        return np.stack([self.finish[active], self.earliest[active]])

    def _run(self, r: _Round) -> None:
        posted = np.maximum(self.finish - r.hidden + r.before, self.earliest)
        arrival = np.where(r.eager, posted, np.maximum(posted, posted[r.receiver])) + r.cost
        end = np.where(r.sends & ~r.eager, arrival, posted)
        end = np.where(r.receives, np.maximum(end, arrival[r.sender]), end)
        end = np.maximum(end, posted + r.hidden) + r.work
        active = r.sends | r.receives
        self.finish = np.where(active, end, self.finish)
        self.earliest = np.where(active, posted + r.gap, self.earliest)
