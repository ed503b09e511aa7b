"""Fat tree: leaf switches in pods, with fewer cables up than down if oversubscribed.

Source: Leiserson 1985, "Fat-trees: universal networks for hardware-efficient supercomputing". Cables between two
switches are one trunk that all messages share evenly (perfect adaptive routing); the trunk of a leaf is the only
one that can be the bottleneck, since what is above has the same width.
"""

from dataclasses import dataclass

import numpy as np

from .topology import Switch, link_seconds


@dataclass(frozen=True)
class FatTree(Switch):
    """Nodes at leaves, leaves in pods, pods under a core.

    Parameters
    ----------
    nodes_per_leaf, leaves_per_pod : int
    oversubscription : float
        Bandwidth of the nodes of a leaf over that of its trunk to the next level: 1 is a full fat tree.
    """

    nodes_per_leaf: int = 16
    leaves_per_pod: int = 16
    oversubscription: float = 1.0

    def links(
        self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray, port: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Two more switches to another leaf, four to another pod; the trunks up and down are shared."""
        up, down = source // self.nodes_per_leaf, target // self.nodes_per_leaf
        hops = 2.0 * (up != down) + 2.0 * (up // self.leaves_per_pod != down // self.leaves_per_pod)
        trunk = self.nodes_per_leaf * port / self.oversubscription
        leaving = np.where(up != down, num_bytes, 0.0)
        busy = np.maximum(link_seconds(up, leaving, trunk), link_seconds(down, leaving, trunk))
        return hops, np.where(up != down, busy, 0.0)
