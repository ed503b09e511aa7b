"""Mesh: the ranks of a job as an array with named axes, and the group of each axis."""

from collections.abc import Mapping

from ..errors import AgreedError, UserError
from .agreement import say_values
from .axes import AXES, check_axis, coordinates_of, fit, members, say_mesh, say_placement
from .group import Group
from .late_comm import LateComm
from .placement import Affinity
from .world import World


class Mesh:
    """Ranks with a place on each of the axes data, pipe, space, context, tensor and expert.

    Neighbors on the last of these axes that has several ranks are neighbors on a node, since they send the most to each
    other; data is the axis whose ranks are farthest apart.

    Parameters
    ----------
    ranks : World or Group
        All of them make the mesh together.
    sizes : str or mapping of str to int
        Number of ranks on each axis: "data=2,pipe=4". The size of data is inferred where it is not given ("pipe=4"); or
        that of another axis is ("data=2,pipe=", in a mapping None). Other axes have one rank.

    Attributes
    ----------
    sizes : dict of str to int
        Size of every axis.
    coordinates : dict of str to int
        Place of this rank on every axis.
    placement : str
        Which axes have ranks on several nodes, in one line.

    Raises
    ------
    AgreedError
        On all ranks, with the nearest meshes that fit, if the sizes are not those of so many ranks; if the ranks do not
        give the same sizes; if the world is elastic and not all of its ranks are on axis data.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> mesh = Mesh(World(MPI.COMM_SELF), "pipe=1")
    >>> mesh["pipe"].size, mesh.over("data", "pipe").size, mesh.world_rank(pipe=0)
    (1, 1, 0)
    """

    def __init__(self, ranks: World | Group, sizes: str | Mapping[str, int | None]) -> None:
        self._ranks = ranks
        self.sizes, self._affinities = _agree(ranks, sizes)
        if isinstance(ranks, World) and ranks.elastic and self.sizes["data"] < ranks.size:
            raise AgreedError(
                "ranks with a part of the model cannot be lost yet: --elastic needs all ranks on axis data"
            )
        nodes = [node for node, _ in self._affinities]
        self._order = sorted(range(ranks.size), key=lambda rank: (nodes[rank], rank))  # rank of each number in the mesh
        self.coordinates = coordinates_of(self._order.index(ranks.rank), self.sizes)
        self.placement = say_placement(self.sizes, [nodes[rank] for rank in self._order])
        self._groups: dict[tuple[str, ...], Group] = {}
        if ranks.job.ledger is not None:  # messages about this rank name its stage in the newest mesh
            ranks.job.ledger.name_stages([self.coordinates["pipe"]] if self.sizes["pipe"] > 1 else [])

    def __repr__(self) -> str:
        return f"Mesh({say_mesh(self.sizes)!r}, rank {self._ranks.rank} of {self._ranks.size})"

    def __getitem__(self, axis: str) -> Group:
        """Return the ranks that differ from this one in their place on ``axis`` only.

        The group is made by a look-up; its communicator by the first call that needs one, which the ranks of the group
        make together. Rank, size, world ranks and place are known before.

        Raises
        ------
        UserError
            If there is no such axis.
        """
        return self.over(axis)

    def over(self, *axes: str) -> Group:
        """Return the ranks that differ from this one in their places on ``axes`` only: ``mesh.over("data", "space")``.

        Its ranks are in the order of the mesh. Axes with one rank make no difference. See ``mesh[axis]``.
        """
        for axis in axes:
            check_axis(axis)
        key = tuple(axis for axis in AXES if axis in axes and self.sizes[axis] > 1)
        key = key or tuple(axis for axis in AXES if axis in axes)[:1]
        if key not in self._groups:
            self._groups[key] = self._make(key)
        return self._groups[key]

    def world_rank(self, **places: int) -> int:
        """Return the rank in the job of the rank at ``places``: ``mesh.world_rank(data=0, pipe=2)``.

        On axes that are not named it has the place of this rank.

        Raises
        ------
        UserError
            If there is no such axis or place.
        """
        for axis, place in places.items():
            check_axis(axis)
            if not 0 <= place < self.sizes[axis]:
                raise UserError(f"there is no place {place} on axis {axis}, which has {self.sizes[axis]} ranks")
        (number,) = members({**self.coordinates, **places}, (), self.sizes)
        return self._ranks.world_ranks[self._order[number]]

    def _make(self, axes: tuple[str, ...]) -> Group:
        ranks, name = self._ranks, " x ".join(axes)
        inside = [self._order[number] for number in members(self.coordinates, axes, self.sizes)]
        if isinstance(ranks, World) and inside == list(range(ranks.size)):
            return ranks.group(name)
        late = LateComm(
            parent=lambda: ranks._comm,
            members=inside,
            rank=inside.index(ranks.rank),
            axis=name,
            world_ranks=[ranks.world_ranks[rank] for rank in inside],
            affinities=[self._affinities[rank] for rank in inside],
            job=ranks.job,
            tag=1 + sum(1 << AXES.index(axis) for axis in axes),
        )
        return Group(late, name)


def _agree(ranks: World | Group, sizes: str | Mapping[str, int | None]) -> tuple[dict[str, int], list[Affinity]]:
    """Return the sizes and the affinity of each rank, or raise the same AgreedError on all; one collective."""
    found: dict[str, int] = {}
    error = ""
    try:
        found = fit(sizes, ranks.size)
    except UserError as refusal:
        error = str(refusal)
    everyone = ranks.all_gather((error, say_mesh(found) if found else "", ranks.job.affinity))
    for rank, (refused, _, _) in enumerate(everyone):
        if refused:
            raise AgreedError(refused if rank == 0 else f"{ranks.name_of(rank)}: {refused}")
    by_mesh: dict[str | None, list[int]] = {}
    for rank, (_, mesh, _) in enumerate(everyone):
        by_mesh.setdefault(mesh, []).append(ranks.world_ranks[rank])
    if len(by_mesh) > 1:
        raise AgreedError(f"the mesh is {say_values(by_mesh)}: all ranks must make the same one")
    return found, [affinity for _, _, affinity in everyone]
