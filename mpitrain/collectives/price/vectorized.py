"""Price of a schedule in columns: all messages of a wave are processed by one NumPy call.

A wave is a round of reference.py: all steps are posted, the messages whose two ends are posted move, the steps that are
complete make room for the next. A rank is looked at only when it has just posted a step, so the work is
proportional to the messages, however many waves there are. The clocks are real-valued and run freely between ranks.

Some schedules have many waves of a few messages (a chain of 100,000 ranks): see narrow.py.
"""

from dataclasses import dataclass

import numpy as np

from ...errors import ScheduleError
from .narrow import NARROW, NarrowRun
from .program import IDLE, Program
from .topology import Network, Switch


@dataclass(frozen=True)
class Times:
    """End times.

    Parameters
    ----------
    finish : (P,) array
        Seconds at which each rank is done.
    num_rounds : int
        Waves: the longest chain of messages.
    earliest : (P,) array
        Seconds before which a rank could not post another step.
    """

    finish: np.ndarray
    num_rounds: int
    earliest: np.ndarray


def wave_times(program: Program, chunk_bytes: float, network: Network) -> Times:
    """Price ``program`` with chunks of ``chunk_bytes``.

    Raises
    ------
    ScheduleError
        If ranks wait for each other forever.
    """
    run = Run(program, chunk_bytes, network)
    ranks: np.ndarray | list[int] = np.flatnonzero(program.first[:-1] < program.first[1:])
    run.post(np.asarray(ranks))
    narrow = NarrowRun(run) if type(network.topology) is Switch else None
    num_rounds = 0
    while len(ranks):
        if narrow and len(ranks) < NARROW:
            ranks = narrow.wave(ranks if isinstance(ranks, list) else ranks.tolist())
        else:
            ranks = run.wave(np.asarray(ranks))
        num_rounds += 1
    stuck = np.flatnonzero(run.at < program.first[1:])
    if stuck.size:
        rank = int(stuck[0])
        raise ScheduleError(f"rank {rank} waits for ever in its round {run.at[rank] - program.first[rank]}.")
    return Times(run.finish, num_rounds, run.earliest)


class Run:
    """Progress of all ranks.

    Attributes
    ----------
    at : (P,) array
        The step that each rank is in; past its last one at the end.
    posted, end, finish, earliest : (P,) arrays
        Seconds: when that step was posted, when it ends as far as is known, when the step before ended, and before
        which the next cannot be posted.
    open : (P,) array
        Messages that the step still waits for.
    """

    def __init__(self, program: Program, chunk_bytes: float, network: Network):
        self.program, self.network = program, network
        self.at = program.first[:-1].copy()
        self.posted, self.end, self.finish = (np.zeros(program.size) for _ in range(3))
        self.earliest = np.full(program.size, -np.inf)
        self.open = np.zeros(program.size, np.int8)
        self._new = np.zeros(program.size, bool)
        calibration = network.calibration
        self.num_bytes, _, packed, worked, hidden = (program.kinds * chunk_bytes).T
        self.packing = np.where(packed, calibration.reduce(packed), 0.0)
        self.hidden = calibration.overlap * np.where(hidden, calibration.reduce(hidden), 0.0)
        self.work = np.where(worked, calibration.work(worked, self.num_bytes > 0), 0.0)

    def post(self, ranks: np.ndarray) -> None:
        """Post the steps that ``ranks`` are in."""
        program, network = self.program, self.network
        steps = self.at[ranks]
        to, source, kind = program.send_to[steps], program.recv_from[steps], program.kind[steps]
        hidden = self.hidden[kind]
        before = network.overhead(ranks, to, source) + self.packing[kind]
        self.posted[ranks] = np.maximum(self.finish[ranks] - hidden + before, self.earliest[ranks])
        self.end[ranks] = self.posted[ranks] + hidden
        self.earliest[ranks] = self.posted[ranks] + network.gap(ranks, to, source, self.num_bytes[kind])
        self.open[ranks] = (to != IDLE).astype(np.int8) + (source != IDLE)

    def wave(self, ranks: np.ndarray) -> np.ndarray:
        """Move the messages that newly posted steps of ``ranks`` make possible; return the ranks that post next."""
        senders, receivers = self._movable(ranks)
        self._move(senders, receivers)
        self.open[senders] -= 1
        self.open[receivers] -= 1
        done = senders[self.open[senders] == 0]
        self.open[done] = -1
        done = np.concatenate([done, receivers[self.open[receivers] == 0]])
        self.finish[done] = self.end[done] + self.work[self.program.kind[self.at[done]]]
        self.at[done] += 1
        going: np.ndarray = done[self.at[done] < self.program.first[done + 1]]
        self.post(going)
        return going

    def _movable(self, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both ends of the messages of which one is new and the other posted, each message once."""
        program, at, steps = self.program, self.at, self.at[ranks]
        to, source = program.send_to[steps], program.recv_from[steps]
        sends, receives = to != IDLE, source != IDLE
        senders, receivers = ranks[sends], to[sends]
        there = at[receivers] == program.receipt[steps[sends]]
        origins, targets = source[receives], ranks[receives]
        self._new[ranks] = True
        late = (at[origins] == program.origin[steps[receives]]) & ~self._new[origins]
        self._new[ranks] = False
        both = (senders[there], origins[late]), (receivers[there], targets[late])
        return np.concatenate(both[0]), np.concatenate(both[1])

    def _move(self, senders: np.ndarray, receivers: np.ndarray) -> None:
        program, network = self.program, self.network
        if not senders.size:
            return
        num_bytes = self.num_bytes[program.kind[self.at[senders]]]
        duplex = (program.recv_from[self.at[senders]] != IDLE) | (program.send_to[self.at[receivers]] != IDLE)
        cost = network.transfer(senders, receivers, num_bytes, duplex)
        eager = network.eager(senders, receivers, num_bytes)
        sent, received = self.posted[senders], self.posted[receivers]
        arrival = np.where(eager, sent, np.maximum(sent, received)) + cost
        self.end[senders] = np.maximum(self.end[senders], np.where(eager, sent, arrival))
        self.end[receivers] = np.maximum(self.end[receivers], np.maximum(received, arrival))
