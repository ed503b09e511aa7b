"""Adasum: gradients of two ranks are added as far as they are orthogonal, and averaged as far as they are parallel.

    a + b  ->  (1 - a.b / (2 a.a)) a + (1 - a.b / (2 b.b)) b        for each parameter

It is applied in a tree over the ranks; those beyond a power of two join the others first. So the step neither shrinks
nor grows with the number of ranks as a mean or a sum does.

Source: Maleki et al. 2020, "Scaling distributed training with adaptive summation", arXiv 2006.02924.
"""

import numpy as np

from ...arena import HEADER
from ...comm.channel import Channel
from ..buckets import Bucket
from .base import SyncMethod, SyncParts


class Adasum(SyncMethod):
    """Adaptive sums of the ranks' mean gradients in every step (Maleki et al. 2020, arXiv 2006.02924).

    Each rank has n elements to send in each of lg P rounds, in which pairs of ranks exchange all of them.

    Parameters
    ----------
    parts : SyncParts
    """

    watches_gradients = False

    def __init__(self, parts: SyncParts):
        super().__init__(parts.arena)
        self._group = parts.group
        self.algorithms, self.reasons = ["adasum"], list[str]()
        self.buckets = [Bucket(0, parts.arena.size, len(parts.arena.parameters))]
        self._peers = peers_of(parts.group.rank, parts.group.size)
        self._received = np.zeros_like(parts.arena.gradients)
        self._channel: Channel | None = None

    def plan(self) -> None:
        """Plan the messages between ranks."""
        if self._group.size > 1:
            self._channel = Channel(self._group)

    def finish(self) -> None:
        """Sum the header, and combine the ranks' gradients, each divided by the weight of its own samples."""
        header = self._arena.header
        weight = float(header[0])
        sums = self._group.sum(header.astype(np.float64)) if self._channel is not None else header
        mine = self._arena.gradients[HEADER:]
        if weight > 0:
            mine /= weight
        for peer, role in self._peers:
            self._exchange(peer, role)
        header[...] = sums

    def _exchange(self, peer: int, role: str) -> None:
        """Combine with the gradients of ``peer``, or only send them or receive the result."""
        assert self._channel is not None
        mine, message, what = self._arena.gradients, None, f"gradients to combine with those of rank {peer}"
        if role != "send":
            message = self._channel.receive(self._received, peer, label=what)
        if role != "join" and role != "take":
            self._channel.send(mine, peer, label=what).wait()
        if message is None:
            return
        message.wait()
        if role == "take":
            mine[HEADER:] = self._received[HEADER:]
            return
        first, second = (mine, self._received) if self._group.rank < peer else (self._received, mine)
        for p in self._arena.parameters:
            part = slice(p.start, p.stop)
            mine[part] = adaptive_sum(first[part], second[part])

    def divisor(self, weight: float) -> float:
        """Return 1: each rank has divided by its own weight."""
        return 1.0

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step."""
        return self._num_sent * int(self._arena.gradients.nbytes)

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends in one step, with the sum of the header."""
        return self._num_sent + (self._channel is not None)

    @property
    def _num_sent(self) -> int:
        return sum(role in ("send", "swap") for _, role in self._peers)

    def free(self) -> None:
        """Free the MPI resources."""
        if self._channel is not None:
            self._channel.free()

    def describe(self) -> str:
        """Return a description in a few words."""
        rounds = "one rank, nothing to send" if self._channel is None else f"{len(self._peers)} rounds on this rank"
        return f"adaptive sums of gradients in every step (Adasum); {rounds}"


def adaptive_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the adaptive sum of two gradients (n,).

    >>> adaptive_sum(np.array([2.0, 0.0]), np.array([0.0, 1.0])), adaptive_sum(np.ones(2), np.ones(2))
    (array([2., 1.]), array([1., 1.]))
    """
    dot, squares_a, squares_b = (float(np.dot(x, y)) for x, y in ((a, b), (a, a), (b, b)))
    of_a = 1 - dot / (2 * squares_a) if squares_a else 1.0
    of_b = 1 - dot / (2 * squares_b) if squares_b else 1.0
    combined: np.ndarray = of_a * a + of_b * b
    return combined


def peers_of(rank: int, size: int) -> list[tuple[int, str]]:
    """Return the peers of a rank in order, and what it does: send, join (receive and combine), swap or take.

    >>> peers_of(0, 3), peers_of(1, 3), peers_of(2, 3)
    ([(2, 'join'), (1, 'swap'), (2, 'send')], [(0, 'swap')], [(0, 'send'), (0, 'take')])
    """
    whole = 1 << size.bit_length() - 1
    if rank >= whole:
        return [(rank - whole, "send"), (rank - whole, "take")]
    swaps = [(rank ^ 1 << k, "swap") for k in range(whole.bit_length() - 1)]
    folded = rank + whole < size
    return [*([(rank + whole, "join")] if folded else []), *swaps, *([(rank + whole, "send")] if folded else [])]
