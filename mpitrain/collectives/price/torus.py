"""Torus of one to three dimensions: every node is a small switch with a cable to each neighbor.

Messages correct one coordinate after the other, the shorter way round (dimension-order routing: Dally & Seitz 1987).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from .topology import Switch, link_seconds


@dataclass(frozen=True)
class Torus(Switch):
    """A grid of nodes whose ends are joined; node numbers run fastest along the last dimension.

    Parameters
    ----------
    dims : tuple of int
        Nodes along each dimension; empty for one ring of all nodes.
    """

    dims: tuple[int, ...] = ()

    def check(self, num_nodes: int) -> None:
        """Raise UserError if the grid has fewer places than there are nodes."""
        places = int(np.prod(self.dims)) if self.dims else num_nodes
        if places < num_nodes:
            shape = "x".join(map(str, self.dims))
            raise UserError(f"a torus of {shape} has {places} places, and there are {num_nodes} nodes")

    def links(
        self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray, port: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """One more switch for each cable after the first; every cable on the way is shared, one per direction."""
        dims = self.dims or (int(max(source.max(), target.max())) + 1,)
        ways = list(self._ways(dims, source, target))
        hops = sum((np.bincount(who, minlength=len(source)) for who, _ in ways), np.zeros(len(source)))
        if not ways:
            return np.zeros(len(source)), np.zeros(len(source))
        who = np.concatenate([who for who, _ in ways])
        link = np.concatenate([link for _, link in ways])
        busy = np.zeros(len(source))
        np.maximum.at(busy, who, link_seconds(link, num_bytes[who], port))
        return np.maximum(hops - 1.0, 0.0), busy

    def _ways(
        self, dims: tuple[int, ...], source: np.ndarray, target: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (messages, links) for each step along each dimension; a link is (node, dimension, direction)."""
        here = np.stack(np.unravel_index(source, dims), axis=1)
        there = np.stack(np.unravel_index(target, dims), axis=1)
        for dim, length in enumerate(dims):
            ahead = (there[:, dim] - here[:, dim]) % length
            forward = ahead <= length - ahead
            left = np.where(forward, ahead, length - ahead)
            while (who := np.flatnonzero(left)).size:
                node = np.ravel_multi_index(tuple(here[who].T), dims)
                yield who, (node * len(dims) + dim) * 2 + forward[who]
                here[who, dim] = (here[who, dim] + np.where(forward[who], 1, -1)) % length
                left[who] -= 1
