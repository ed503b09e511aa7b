"""Dragonfly: groups of routers, all routers of a group joined to each other, and every group to every other.

Source: Kim, Dally, Scott & Abts 2008, "Technology-driven, highly-scalable dragonfly topology". Messages take the
minimal way: at most one cable inside the first group, one between the groups, one inside the last. The cables of a
pair of groups are one trunk.
"""

from dataclasses import dataclass

import numpy as np

from .topology import Switch, link_seconds


@dataclass(frozen=True)
class Dragonfly(Switch):
    """Nodes at routers, routers in groups.

    Parameters
    ----------
    nodes_per_router, routers_per_group : int
    cables_per_pair : float
        Cables between each two groups, each as wide as a node's port.
    """

    nodes_per_router: int = 4
    routers_per_group: int = 8
    cables_per_pair: float = 1.0

    def links(
        self, source: np.ndarray, target: np.ndarray, num_bytes: np.ndarray, port: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """One more switch to another router of the group, three to another group."""
        a, b = source // self.nodes_per_router, target // self.nodes_per_router
        group, other = a // self.routers_per_group, b // self.routers_per_group
        far, near = group != other, (group == other) & (a != b)
        busy = np.zeros(len(source))
        num_routers, num_groups = int(max(a.max(), b.max())) + 1, int(max(group.max(), other.max())) + 1
        for mask, link, width in (
            (near, a * num_routers + b, port),
            (far, group * num_groups + other, self.cables_per_pair * port),
        ):
            who = np.flatnonzero(mask)
            busy[who] = link_seconds(link[who], num_bytes[who], width)
        # inside a group, traffic to and from other groups spreads over the cables of the gateways: not a bottleneck
        return 1.0 * near + 3.0 * far, busy
