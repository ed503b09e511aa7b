"""Waves of few messages in plain Python, faster than NumPy's calls; for a plain switch only.

A chain of 100,000 ranks has 200,000 waves of eight messages. The clocks are those of vectorized.py, in the same memory.
"""

from collections import defaultdict
from typing import Any, Protocol

import numpy as np

from .program import Program
from .topology import Network

NARROW = 24  # ranks of a wave below which this is faster


class Clocks(Protocol):
    """State of the ranks in vectorized.py."""

    program: Program
    network: Network
    num_bytes: np.ndarray
    packing: np.ndarray
    hidden: np.ndarray
    work: np.ndarray
    at: np.ndarray
    open: np.ndarray
    posted: np.ndarray
    end: np.ndarray
    finish: np.ndarray
    earliest: np.ndarray


class NarrowRun:
    """Processes the messages of ``run`` one by one.

    Parameters
    ----------
    run : Clocks
        On a network whose topology is a plain switch.
    """

    def __init__(self, run: Clocks):
        program, network = run.program, run.network
        self._wires = [_Wire(run, across) for across in (False, True)]
        self._per_node = network.topology.ranks_per_node
        self._packing, self._hidden, self._work = run.packing.tolist(), run.hidden.tolist(), run.work.tolist()
        self._at, self._open, self._first = _view(run.at), _view(run.open), _view(program.first)
        self._posted, self._end, self._finish, self._earliest = map(
            _view, (run.posted, run.end, run.finish, run.earliest)
        )
        self._send_to, self._recv_from, self._kind = (
            _view(program.send_to),
            _view(program.recv_from),
            _view(program.kind),
        )
        self._receipt, self._origin = _view(program.receipt), _view(program.origin)

    def wave(self, ranks: list[int]) -> list[int]:
        """Move the messages that newly posted steps of ``ranks`` make possible; return the ranks that post next."""
        at, open_, kind = self._at, self._open, self._kind
        messages = self._movable(ranks)
        done = []
        for (sender, receiver), seconds in zip(messages, self._costs(messages)):
            self._move(sender, receiver, seconds)
            for rank in (sender, receiver):
                open_[rank] -= 1
                if not open_[rank]:
                    done.append(rank)
        going = []
        for rank in done:
            step = at[rank]
            self._finish[rank] = self._end[rank] + self._work[kind[step]]
            at[rank] = step = step + 1
            if step < self._first[rank + 1]:
                self._post(rank, step)
                going.append(rank)
        return going

    def _movable(self, ranks: list[int]) -> list[tuple[int, int]]:
        at, messages = self._at, []
        for rank in ranks:
            step = at[rank]
            to, source = self._send_to[step], self._recv_from[step]
            if to >= 0 and at[to] == self._receipt[step]:
                messages.append((rank, to))
            if source >= 0 and at[source] == self._origin[step] and source not in ranks:
                messages.append((source, rank))
        return messages

    def _costs(self, messages: list[tuple[int, int]]) -> list[float]:
        """Return the seconds of the messages of a wave; those of a node share its memory, and its port."""
        at, kind, send_to, recv_from = self._at, self._kind, self._send_to, self._recv_from
        duplex = [recv_from[at[sender]] >= 0 or send_to[at[receiver]] >= 0 for sender, receiver in messages]
        per_node = self._per_node
        if per_node == 1:
            cost = self._wires[1].cost
            return [cost[both][kind[at[sender]]] for (sender, _), both in zip(messages, duplex)]
        busy = defaultdict[tuple[int, int], float](float)
        shared = []
        for (sender, receiver), both in zip(messages, duplex):
            out, into, k = sender // per_node, receiver // per_node, kind[at[sender]]
            wire = self._wires[out != into]
            links = ((out, 2),) if out == into else ((out, 0), (into, 1))
            for link in links:
                busy[link] += wire.busy[k]
            shared.append((wire.cost[both][k], wire.latency, links))
        return [max(cost, latency + max(busy[link] for link in links)) for cost, latency, links in shared]

    def _move(self, sender: int, receiver: int, seconds: float) -> None:
        end, kind = self._end, self._kind[self._at[sender]]
        begin, received = self._posted[sender], self._posted[receiver]
        if self._wires[sender // self._per_node != receiver // self._per_node].eager[kind]:
            arrival = begin + seconds
        else:
            begin = arrival = max(begin, received) + seconds
        if begin > end[sender]:
            end[sender] = begin
        arrival = max(arrival, received)
        if arrival > end[receiver]:
            end[receiver] = arrival

    def _post(self, rank: int, step: int) -> None:
        node, kind = rank // self._per_node, self._kind[step]
        before, gap, num_open = self._packing[kind], 0.0, 0
        for side, peer in enumerate((self._send_to[step], self._recv_from[step])):
            if peer >= 0:
                wire = self._wires[peer // self._per_node != node]
                before += wire.overhead[side]
                gap = max(gap, wire.gap if side else wire.gap_after[kind])
                num_open += 1
        posted = max(self._finish[rank] - self._hidden[kind] + before, self._earliest[rank])
        self._posted[rank], self._end[rank] = posted, posted + self._hidden[kind]
        self._earliest[rank] = posted + gap
        self._open[rank] = num_open


def _view(array: np.ndarray) -> Any:
    """Return the memory of an array, whose items are plain numbers of Python."""
    return array.data


class _Wire:
    """One way of messages, by their kinds: seconds alone (one way, both ways), and of what they share."""

    def __init__(self, run: Clocks, across: bool):
        network, num_bytes = run.network, run.num_bytes
        wire = network.calibration.across if across else network.calibration.inside
        self.latency = wire.one_way.latency
        self.cost = [np.maximum(way(num_bytes), self.latency).tolist() for way in (wire.one_way, wire.exchange)]
        self.eager = (num_bytes <= wire.eager).tolist()
        self.busy = (num_bytes / network.shared_bandwidth(across)).tolist()
        self.overhead = wire.send_overhead, wire.recv_overhead
        self.gap, self.gap_after = wire.gap, wire.gap_after(num_bytes).tolist()
