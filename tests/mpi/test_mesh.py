"""Meshes: groups by axis, made when they are used; sizes that do not fit; collectives compared axis by axis."""

import doctest
import threading

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.comm import mesh as meshes
from mpitrain.comm.axes import AXES
from mpitrain.comm.group import Group
from mpitrain.comm.mesh import Mesh
from mpitrain.comm.watch.history import MismatchError
from mpitrain.comm.watch.slot import first_difference
from mpitrain.comm.world import World
from mpitrain.errors import AgreedError, UserError

pytestmark = pytest.mark.mpi


@pytest.fixture(params=["as long as can be", "as short as can be"])
def mesh(world, request):
    """Return a mesh in which pipe has as many ranks as it can have, or as few as more than one."""
    divisors = [size for size in range(2, world.size + 1) if world.size % size == 0] or [1]
    return Mesh(world, {"pipe": divisors[-1 if "long" in request.param else 0]})


def test_every_rank_has_its_place(world, mesh):
    places = world.all_gather(mesh.coordinates)
    assert len({tuple(place.values()) for place in places}) == world.size
    assert places == [
        {**dict.fromkeys(AXES, 0), "data": rank // mesh.sizes["pipe"], "pipe": rank % mesh.sizes["pipe"]}
        for rank in range(world.size)
    ]
    for rank, place in enumerate(places):
        assert mesh.world_rank(**place) == rank
        assert mesh.world_rank(pipe=place["pipe"]) == mesh["pipe"].world_ranks[place["pipe"]]


def test_groups_of_axes(world, mesh):
    data, pipe = mesh["data"], mesh["pipe"]
    assert (data.size, pipe.size) == (mesh.sizes["data"], mesh.sizes["pipe"])
    assert (data.rank, pipe.rank) == (mesh.coordinates["data"], mesh.coordinates["pipe"])
    for group in (data, pipe, mesh.over("data", "pipe"), mesh.over("pipe", "data"), mesh["tensor"], mesh.over()):
        assert group.world_ranks[group.rank] == world.rank
        assert group.all_gather(world.rank) == group.world_ranks
        assert group.sum(np.array([world.rank + 1.0]))[0] == sum(group.world_ranks) + group.size
        assert group.all_reduce(np.full(9, world.rank + 1.0))[0] == sum(group.world_ranks) + group.size
        assert group.place.oversubscribed == world.oversubscribed
        assert group.place.node_size == group.size
    assert mesh.over("data", "pipe").world_ranks == list(range(world.size))
    assert mesh["data"] is data
    assert mesh.over("pipe", "data") is mesh.over("data", "pipe")
    assert mesh["expert"].world_ranks == [world.rank]


def test_names_of_ranks(world, mesh):
    pipe, data = mesh["pipe"], mesh["data"]
    last = pipe.size - 1
    assert pipe.name_of(last) == f"stage {last} (rank {pipe.world_ranks[last]})"
    assert data.name_of(0) == f"rank {data.world_ranks[0]}"
    assert world.ledger.mine.stages == (f"stage {pipe.rank}" if pipe.size > 1 else "")

    def last_fails():
        with pipe.together():
            if pipe.rank == last:
                raise UserError("no")

    with pytest.raises(AgreedError) as error:
        last_fails()
    assert str(error.value) == (f"{pipe.name_of(last)}: no" if last else "no")


def test_groups_are_light(world):
    """No thread and no ledger of their own, and no message before the first collective: a look-up is a rank's own."""
    threads, before = threading.active_count(), world.ledger.job.number
    mesh = Mesh(world, f"pipe={world.size}") if world.size > 1 else Mesh(world, "pipe=1")
    assert world.ledger.job.number == before + 1
    if world.rank == world.size - 1:
        for axis in AXES:
            assert mesh[axis].size == mesh.sizes[axis]
        assert mesh.over("data", "pipe").rank == world.rank
    assert world.ledger.job.number == before + 1
    assert threading.active_count() == threads
    assert mesh["pipe"].job is world.job
    world.barrier()


def test_the_data_group_of_a_world_is_shared(world):
    """A group of all ranks is not made again."""
    assert Mesh(world, "")["data"] is world.group("data")
    assert Mesh(world, f"data=1,pipe={world.size}").over("data", "pipe")._comm is world._comm


def test_meshes_of_a_part(world):
    """Some ranks in another order: places follow the group, messages name ranks of the job."""
    half = world.group("half", MPI.COMM_WORLD.Split(world.rank % 2, -world.rank))
    mesh = Mesh(half, f"pipe={half.size}")
    assert mesh["pipe"].world_ranks == half.world_ranks
    assert mesh.coordinates["pipe"] == half.rank
    assert mesh.world_rank(pipe=0) == half.world_ranks[0]
    assert mesh["pipe"].sum(np.array([world.rank]))[0] == sum(half.world_ranks)


def test_a_program_without_a_world(world):
    mesh = Mesh(Group(MPI.COMM_WORLD), {"data": None, "pipe": world.size})
    assert mesh["pipe"].all_gather(world.rank) == list(range(world.size))
    assert mesh["data"].size == 1
    assert mesh["data"].fingerprint == 0


def test_ranks_on_several_nodes(world, monkeypatch):
    """Ranks that are dealt to two nodes in turn: neighbors on the inner axis are on one node all the same."""
    monkeypatch.setattr(world.job, "affinity", (world.rank % 2, world.job.affinity[1]))
    if world.size % 2:
        return
    mesh = Mesh(world, {"pipe": world.size // 2})
    assert mesh["pipe"].world_ranks == list(range(world.rank % 2, world.size, 2))
    assert mesh["data"].world_ranks == [world.rank // 2 * 2, world.rank // 2 * 2 + 1]
    assert mesh["data"].all_gather(world.rank) == mesh["data"].world_ranks
    assert mesh["pipe"].place.node_size == mesh["pipe"].size
    assert world.size == 2 or mesh["data"].place.node_size == 1
    stays = ", pipe stays within a node" if world.size > 2 else ""
    assert mesh.placement.endswith(f": data crosses nodes{stays}")
    assert Mesh(world, {"pipe": world.size}).placement.endswith(": pipe crosses nodes")


def test_sizes_that_do_not_fit(world):
    size = world.size
    for sizes, message in (
        (f"pipe={size + 1}", f"pipe={size + 1} does not divide the number of ranks; for {size} rank"),
        (f"data=1,pipe={2 * size}", f"the mesh data=1,pipe={2 * size} has {2 * size} ranks, not {size}; "),
        ("pipes=2", "a mesh has no axis 'pipes' (did you mean 'pipe'?); "),
        ("pipe=0", "the size of axis pipe is 0, but must be at least 1; "),
    ):
        with pytest.raises(AgreedError) as error:
            Mesh(world, sizes)
        assert str(error.value).startswith(message)
        assert error.value.code == 2
    mesh = Mesh(world, "")
    for mistake in (lambda: mesh["pip"], lambda: mesh.over("data", "pip"), lambda: mesh.world_rank(pip=0)):
        with pytest.raises(UserError, match=r"a mesh has no axis 'pip' \(did you mean 'pipe'\?\)"):
            mistake()
    with pytest.raises(UserError, match=f"there is no place {size} on axis data, which has {size} ranks"):
        mesh.world_rank(data=size)


def test_no_rank_of_a_pipe_can_be_lost(world, monkeypatch):
    monkeypatch.setattr(world, "elastic", True)
    assert Mesh(world, "").sizes["data"] == world.size
    if world.size > 1:
        with pytest.raises(AgreedError, match="ranks with a part of the model cannot be lost yet: --elastic needs"):
            Mesh(world, f"pipe={world.size}")


def test_ranks_that_do_not_agree(world):
    last = world.size - 1
    if world.size == 1:
        return
    with pytest.raises(
        AgreedError, match=f"the mesh is data={world.size} on rank.* 0.* and pipe={world.size} on rank {last}: "
    ):
        Mesh(world, "data=1,pipe=" if world.rank == last else "")
    with pytest.raises(AgreedError, match=f"^rank {last}: the size of axis pipe is -1, but must be at least 1; "):
        Mesh(world, "pipe=-1" if world.rank == last else "")


def test_collectives_are_numbered_by_axis():
    """Calls on one axis have numbers and a fingerprint of their own, which others do not change."""
    world = World()
    if world.size % 2 or world.size == 2:
        return
    mesh = Mesh(world, "pipe=2")
    pipe, data = mesh["pipe"], mesh["data"]
    for _ in range(1 + 2 * mesh.coordinates["data"]):  # each pipe as often as it likes
        pipe.sum(np.ones(3))
    prints = world.all_gather((pipe.fingerprint, data.fingerprint, world.group().fingerprint))
    assert len({prints[rank][0] for rank in pipe.world_ranks}) == 1
    assert len({first for first, _, _ in prints}) == data.size
    assert len({(second, third) for _, second, third in prints}) == 1
    number = 1 + 2 * mesh.coordinates["data"]
    entry = next(e for e in reversed(world.ledger.mine.entries()) if " on axis pipe " in e.text)
    assert entry.ordinal == number
    assert entry.group == f" on axis pipe (ranks {pipe.world_ranks[0]} and {pipe.world_ranks[1]})"
    data.sum(np.ones(3))
    pipe.check_history()
    data.check_history()


def test_a_difference_on_an_axis_is_found():
    """The second rank that begins another call than its neighbor on the axis sees it before it calls MPI."""
    world = World()
    if world.size % 2 or world.size == 2:
        return
    group = Mesh(world, "pipe=2")["data"]
    group.barrier()
    history = group._comm.history
    odd_one = group.rank == group.size - 1

    def call(what):
        return world.ledger.label(f"{what}{group._comm.where}", compared=what, history=history)

    if not odd_one:
        world.ledger.end(world.ledger.begin(call("sum of 4")))
    world.barrier()
    if odd_one:
        with pytest.raises(MismatchError, match="collective number 2 is not"):
            world.ledger.begin(call("sum of 5"))
    world.barrier()
    histories = world.all_gather((world.rank, world.ledger.mine.entries()))
    difference = first_difference([histories[rank] for rank in group.world_ranks])
    if group.size > 2:
        assert difference.startswith(f"rank {group.world_ranks[-1]}'s collective number 2 is sum of 5")
    else:
        assert "collective number 2 is sum of" in difference


def test_examples():
    found = doctest.testmod(meshes)
    assert (found.failed, found.attempted > 2) == (0, True)
