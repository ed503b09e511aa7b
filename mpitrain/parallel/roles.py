"""Groups of a mesh by what training needs them for."""

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np

from ..arena import Arena
from ..comm.channel import Channel
from ..comm.mesh import Mesh


class Roles:
    """Groups of a mesh by what training needs them for.

    Parameters
    ----------
    mesh : Mesh

    Attributes
    ----------
    mesh : Mesh
    samples : Group
        The ranks among which the samples are divided: data and expert.
    sums : Group
        The ranks over which gradients are summed: those with other samples, or other parts of the same ones.
    same : Group
        Those of ``sums`` that have the same parameters as this rank; the others have other experts.
    parts : Group
        Ranks with different parts of the model.
    everyone : Group
        All ranks of the mesh.
    counts_loss : bool
        True on one of the ranks that compute the same outputs: there the loss and the scores count.
    counts_outputs : bool
        True on one of the ranks that have the same outputs once those of their parts are joined.
    counts_sums : bool
        True on one of the ranks of ``parts`` that get the same sums over ``sums``.
    """

    def __init__(self, mesh: Mesh):
        self.mesh = mesh
        self.samples = mesh.over("data", "expert")
        self.sums = mesh.over("data", "space", "context", "expert")
        self.same = mesh.over("data", "space", "context")
        self.parts = mesh.over("pipe", "tensor", "expert")
        self.everyone = mesh.over(*mesh.sizes)
        self.counts_loss = mesh.coordinates["tensor"] == 0
        self.counts_outputs = all(mesh.coordinates[axis] == 0 for axis in ("tensor", "space", "context"))
        self.counts_sums = mesh.coordinates["expert"] == 0

    @cached_property
    def weights(self) -> Channel:
        """Channel by which rank 0 gets the weights of all parts; the ranks of ``parts`` make it together, once."""
        return Channel(self.parts)

    @property
    def waited(self) -> float:
        """Seconds for which this rank has waited for messages between layers, in all."""
        return sum(self.mesh[axis].waited for axis in ("space", "context", "tensor", "expert"))

    @property
    def divides_model(self) -> bool:
        """True if ranks have different parts of the model, or of a sample."""
        sizes = self.mesh.sizes
        return any(size > 1 for axis, size in sizes.items() if axis != "data")

    @property
    def divides_layers(self) -> bool:
        """True if an axis other than data and pipe has several ranks."""
        return any(size > 1 for axis, size in self.mesh.sizes.items() if axis not in ("data", "pipe"))

    def counts(self, axis: str) -> bool:
        """Return whether a parameter counts on this rank that is cut by ``axis``, or by none ("").

        Of the ranks with the same parameter one counts it in the norm of the gradient.
        """
        places = self.mesh.coordinates
        return all(places[other] == 0 for other in ("tensor", "expert") if other != axis)

    def sum_over_parts(self, arena: Arena) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return ``Optimizer.sum_over_parts`` for an arena; None if no parameter is cut."""
        rows = {
            axis: [p.index for p in arena.parameters if p.shard is not None and p.shard.axis == axis]
            for axis in ("tensor", "expert")
            if self.mesh.sizes[axis] > 1
        }
        return partial(self._sum_rows, rows) if any(rows.values()) else None

    def _sum_rows(self, rows: dict[str, list[int]], array: np.ndarray) -> np.ndarray:
        for axis, some in rows.items():
            array[some] = self.mesh[axis].sum(array[some])
        return array
