"""Placement of ranks and links that their messages share: the part of a price that depends on the network.

Ranks fill nodes in order. Messages inside a node share its memory; messages across share the ports of their nodes
and, in the classes of the other files, the links between switches. All messages of one round are taken together:
a link carries the sum of their bytes, and a message is no faster than the busiest link on its way.
"""

from dataclasses import dataclass

import numpy as np

from .calibration import Calibration, Wire


@dataclass(frozen=True)
class Switch:
    """All nodes on one switch without internal bottlenecks: only the ports of the nodes are shared.

    Parameters
    ----------
    ranks_per_node : int
        With 1, every rank has a port of its own.
    hop : float
        Seconds that each switch after the first adds.
    """

    ranks_per_node: int = 1
    hop: float = 1e-7

    @property
    def repeats(self) -> int:
        """Number of ranks by which a schedule can be shifted at the same cost, 0 if there is none."""
        return self.ranks_per_node if type(self) is Switch else 0

    def check(self, num_nodes: int) -> None:
        """Raise UserError if ``num_nodes`` do not fit (any number fits a switch)."""

    def links(
        self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray, port: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of further switches of each message, and the seconds of its busiest link between switches.

        Parameters
        ----------
        source, target : (M,) arrays
            Nodes, never the same for one message.
        num_bytes : (M,) array
        port : float
            Bytes a second of a link of the width of a node's port.
        """
        return np.zeros(len(source)), np.zeros(len(source))


def link_seconds(link: np.ndarray, num_bytes: np.ndarray, bandwidth: float) -> np.ndarray:
    """Return, for each message on a link, the seconds that the link needs for all its bytes.

    Examples
    --------
    >>> link_seconds(np.array([7, 7, 2]), np.array([10.0, 20.0, 5.0]), 10.0).tolist()
    [3.0, 3.0, 0.5]
    """
    if not len(link):
        return np.zeros(0)
    if link.max() < 8 * len(link) + 1024:
        alone: np.ndarray = np.bincount(link, num_bytes)[link] / bandwidth
        return alone
    _, place = np.unique(link, return_inverse=True)
    return np.bincount(place, num_bytes)[place] / bandwidth


class Network:
    """A calibration on a topology: seconds for the messages of one round.

    Parameters
    ----------
    calibration : Calibration
    topology : Switch or another topology
    size : int
        P, the number of ranks.
    """

    def __init__(self, calibration: Calibration, topology: Switch, size: int):
        self.calibration, self.topology, self.size = calibration, topology, size
        topology.check(-(-size // topology.ranks_per_node))
        inside, across = calibration.inside, calibration.across
        slope = across.one_way.last_slope
        self._port = 1.0 / slope if slope > 0 else np.inf
        self._node_port = across.capacity or self._port
        self._memory = inside.capacity or np.inf

    def shared_bandwidth(self, across: bool) -> float:
        """Return the bytes per second of the resource that the ranks of a node share: its memory, or its port."""
        return float(self._node_port if across else self._memory)

    def crosses(self, rank: np.ndarray, peer: np.ndarray) -> np.ndarray:
        """Return which messages cross from node to node, (M,) bool."""
        per_node = self.topology.ranks_per_node
        return np.asarray(rank // per_node != peer // per_node)

    def transfer(
        self,
        source: np.ndarray,
        target: np.ndarray,
        num_bytes: np.ndarray,
        duplex: np.ndarray,
        period: int | None = None,
    ) -> np.ndarray:
        """Return the seconds of each message of a round, from the moment at which both ends are ready.

        Parameters
        ----------
        source, target : (M,) arrays
            Ranks.
        num_bytes : (M,) array
        duplex : (M,) bool array
            One of the ends sends and receives at once.
        period : int, optional
            The messages stand for all: each is sent again by the ranks that many further, and that many further.
            Links are then shared as if both ends were counted modulo ``period``.
        """
        seconds = np.empty(len(source))
        across = self.crosses(source, target)
        if period is not None:
            source, target = source % period, target % period
        for mask, cost in ((~across, self._inside), (across, self._across)):
            where = np.flatnonzero(mask)
            if where.size:
                seconds[where] = cost(source[where], target[where], num_bytes[where], duplex[where])
        return seconds

    def eager(self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray) -> np.ndarray:
        """Return for which messages the sender does not wait for the receiver, (M,) bool."""
        limit = self._by_wire(source, target, self.calibration.inside.eager, self.calibration.across.eager)
        return np.asarray(num_bytes <= limit)

    def overhead(self, rank: np.ndarray, send_to: np.ndarray, recv_from: np.ndarray) -> np.ndarray:
        """Return the seconds that it takes a rank to post a step; a peer is negative where a side is idle, (M,)."""
        seconds = np.zeros(len(rank))
        for peer, name in ((send_to, "send_overhead"), (recv_from, "recv_overhead")):
            costs = self._by_wire(
                rank, peer, getattr(self.calibration.inside, name), getattr(self.calibration.across, name)
            )
            seconds += np.where(peer >= 0, costs, 0.0)
        return seconds

    def gap(self, rank: np.ndarray, send_to: np.ndarray, recv_from: np.ndarray, num_bytes: np.ndarray) -> np.ndarray:
        """Return the least seconds from the post of a step, which sends ``num_bytes``, to that of the next, (M,)."""
        inside, across = self.calibration.inside, self.calibration.across
        received = np.where(recv_from >= 0, self._by_wire(rank, recv_from, inside.gap, across.gap), 0.0)
        sent = np.where(self.crosses(rank, send_to), across.gap_after(num_bytes), inside.gap_after(num_bytes))
        return np.maximum(np.where(send_to >= 0, sent, 0.0), received)

    def _by_wire(self, rank: np.ndarray, peer: np.ndarray, inside: float, across: float) -> np.ndarray:
        return np.where(self.crosses(rank, peer), across, inside)

    def _inside(self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray, duplex: np.ndarray) -> np.ndarray:
        alone = _alone(self.calibration.inside, num_bytes, duplex)
        busy = link_seconds(source // self.topology.ranks_per_node, num_bytes, self._memory)
        seconds: np.ndarray = np.maximum(alone, self.calibration.inside.one_way.latency + busy)
        return seconds

    def _across(self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray, duplex: np.ndarray) -> np.ndarray:
        wire, per_node = self.calibration.across, self.topology.ranks_per_node
        source, target = source // per_node, target // per_node
        hops, busy = self.topology.links(source, target, num_bytes, self._port)
        if per_node > 1:
            busy = np.maximum(busy, link_seconds(source, num_bytes, self._node_port))
            busy = np.maximum(busy, link_seconds(target, num_bytes, self._node_port))
        seconds: np.ndarray = np.maximum(_alone(wire, num_bytes, duplex), wire.one_way.latency + busy)
        return seconds + hops * self.topology.hop


def _alone(wire: Wire, num_bytes: np.ndarray, duplex: np.ndarray) -> np.ndarray:
    """Return the seconds of each message if it shared nothing."""
    if wire.one_way is wire.exchange:
        return wire.one_way(num_bytes)
    return np.where(duplex, wire.exchange(num_bytes), wire.one_way(num_bytes))
