"""The price of a schedule on columns: all messages that can move in a wave are one NumPy call.

A wave is a round of exact.py: all steps are posted, the messages whose two ends are posted move, the steps that are
complete make room for the next. A rank is looked at only when it has just posted a step, so the work is
proportional to the messages, however many waves there are. The clocks are real-valued and run freely between ranks.
"""

from dataclasses import dataclass

import numpy as np

from ..lockstep import ScheduleError
from .program import IDLE, Program
from .topology import Network


@dataclass(frozen=True)
class Times:
    """When things end.

    Parameters
    ----------
    finish : (P,) array
        Seconds at which each rank is done.
    num_rounds : int
        Waves: the longest chain of messages.
    """

    finish: np.ndarray
    num_rounds: int


def wave_times(program: Program, chunk_bytes: float, network: Network) -> Times:
    """Price ``program`` with chunks of ``chunk_bytes``.

    Raises
    ------
    ScheduleError
        If ranks wait for each other for ever.
    """
    run = _Run(program, chunk_bytes, network)
    active = np.flatnonzero(program.first[:-1] < program.first[1:])
    steps = program.first[active]
    run.post(steps, np.zeros(len(steps)), np.full(len(steps), -np.inf), np.zeros(len(steps)))
    num_rounds = 0
    while steps.size:
        steps = run.wave(steps)
        num_rounds += 1
    stuck = np.flatnonzero(run.open > 0)
    if stuck.size:
        rank = int(program.rank[stuck[0]])
        raise ScheduleError(f"rank {rank} waits for ever in its round {stuck[0] - program.first[rank]}.")
    return Times(run.finish, num_rounds)


class _Run:
    def __init__(self, program: Program, chunk_bytes: float, network: Network):
        self.program, self.network = program, network
        num_steps = len(program.rank)
        self.finish = np.zeros(program.size)
        self.posted = np.full(num_steps, np.nan)
        self.end = np.zeros(num_steps)
        self.open = (program.send_to != IDLE).astype(np.int8) + (program.recv_from != IDLE)
        self.num_bytes = program.send_chunks * chunk_bytes
        reduce, sends = network.calibration.reduce, program.send_to != IDLE
        self.work = np.where(program.worked, network.calibration.work(program.worked * chunk_bytes, sends), 0.0)
        self.hidden = network.calibration.overlap * np.where(program.hidden, reduce(program.hidden * chunk_bytes), 0.0)
        sides = program.rank, program.send_to, program.recv_from
        self.before = network.overhead(*sides) + np.where(program.packed, reduce(program.packed * chunk_bytes), 0.0)
        self.gap = network.gap(*sides)
        self.duplex = program.duplex

    def post(self, steps: np.ndarray, free: np.ndarray, earliest: np.ndarray, hidden: np.ndarray) -> None:
        """Post steps of ranks that are free from ``free`` on, not before ``earliest``, with work still to do."""
        self.posted[steps] = np.maximum(free + self.before[steps], earliest)
        self.end[steps] = self.posted[steps] + hidden

    def wave(self, steps: np.ndarray) -> np.ndarray:
        """Move the messages that the newly posted ``steps`` make possible; return the steps posted next."""
        senders = self._movable(steps)
        receivers = self.program.receipt[senders]
        self._move(senders, receivers)
        self.open[senders] -= 1
        self.open[receivers] -= 1
        done = senders[self.open[senders] == 0]
        self.open[done] = -1
        others = receivers[self.open[receivers] == 0]
        self.open[others] = -1
        return self._advance(np.concatenate([done, others]))

    def _movable(self, steps: np.ndarray) -> np.ndarray:
        """Return the sending steps of messages of which one end is new and the other posted, each once."""
        program = self.program
        new_senders = steps[program.send_to[steps] != IDLE]
        new_receivers = steps[program.recv_from[steps] != IDLE]
        posted = self.posted
        both = new_senders[~np.isnan(posted[program.receipt[new_senders]])]
        origins = program.origin[new_receivers]
        origins = origins[~np.isnan(posted[origins])]
        if both.size and origins.size:
            is_new = np.isin(origins, new_senders)
            origins = origins[~is_new]
        return np.concatenate([both, origins])

    def _move(self, senders: np.ndarray, receivers: np.ndarray) -> None:
        program, network = self.program, self.network
        if not senders.size:
            return
        source, target, num_bytes = program.rank[senders], program.rank[receivers], self.num_bytes[senders]
        cost = network.transfer(source, target, num_bytes, self.duplex[senders] | self.duplex[receivers])
        eager = network.eager(source, target, num_bytes)
        sent, received = self.posted[senders], self.posted[receivers]
        arrival = np.where(eager, sent, np.maximum(sent, received)) + cost
        self.end[senders] = np.maximum(self.end[senders], np.where(eager, sent, arrival))
        self.end[receivers] = np.maximum(self.end[receivers], np.maximum(received, arrival))

    def _advance(self, done: np.ndarray) -> np.ndarray:
        program = self.program
        self.finish[program.rank[done]] = self.end[done] + self.work[done]
        done = done[done + 1 < program.first[program.rank[done] + 1]]
        steps = done + 1
        hidden = self.hidden[steps]
        self.post(steps, self.finish[program.rank[done]] - hidden, self.posted[done] + self.gap[done], hidden)
        return steps
